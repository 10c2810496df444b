"""Runs on a shifted target: every method sees the same shifted images with the same labels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support.command import call, refused
from support.files import data_roots
from support.runs import run
from torch import Tensor

import ttt_bench
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.network import Batch
from ttt_bench.report.render import report
from ttt_bench.results import store

Seen = dict[str, list[Batch]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Return a function that runs a request and returns the batches of each method in order."""

    def watch(results: Path, **given: object) -> Seen:
        seen: Seen = {}
        whole = ProtocolRun._placed

        def kept(self: ProtocolRun, indices: list[int]) -> tuple[Batch, Tensor | None]:
            batch, valid = whole(self, indices)
            copy = Batch(
                batch.images.clone(),
                {task: target.clone() for task, target in batch.targets.items()},
            )
            seen.setdefault(self.session.adapter.name, []).append(copy)
            return batch, valid

        with monkeypatch.context() as patch:
            patch.setattr(ProtocolRun, "_placed", kept)
            run(results, **given)
        return seen

    return watch


def images(batches: list[Batch]) -> Tensor:
    return torch.cat([batch.images for batch in batches])


def equal(first: list[Batch], second: list[Batch], images_too: bool = True) -> bool:
    """Return whether two methods got the same images, bit for bit."""
    same = all(
        a.targets.keys() == b.targets.keys()
        and all(torch.equal(a.targets[t], b.targets[t]) for t in a.targets)
        for a, b in zip(first, second, strict=True)
    )
    return same and (not images_too or torch.equal(images(first), images(second)))


def test_every_method_sees_the_same_noise_and_the_labels_stay(
    tmp_path: Path, watched: Callable[..., Seen]
) -> None:
    plain = watched(tmp_path / "plain", pair="rooms:rooms", methods="base")["base"]
    noisy = watched(
        tmp_path / "noisy", pair="rooms:rooms+gaussian_noise@0.1", methods="base,norm,tent,tipi"
    )
    assert noisy.keys() == {"base", "norm", "tent", "tipi"}
    for method, batches in noisy.items():
        assert equal(batches, noisy["base"]), method
    assert equal(noisy["base"], plain, images_too=False)
    for before, after in zip(images(plain), images(noisy["base"]), strict=True):
        inside = (after > 0) & (after < 1)  # pixels that the noise did not move out of range
        share = (after - before)[inside].std() / before.std()
        assert share.item() == pytest.approx(0.1, rel=0.1)


def test_noise_depends_on_the_datas_seed_only(tmp_path: Path, watched: Callable[..., Seen]) -> None:
    noise = {"pair": "rooms:rooms+gaussian_noise@0.1", "methods": "base"}
    first = watched(tmp_path / "first", **noise)["base"]
    again = watched(tmp_path / "again", **noise, seeds="1")["base"]
    other = watched(tmp_path / "other", **noise, set={"data.seed": 1})["base"]
    assert equal(first, again)
    assert equal(first, other, images_too=False)
    assert not torch.equal(images(first), images(other))
    # another strength is the same noise, weaker or stronger
    twice = watched(tmp_path / "twice", **{**noise, "pair": "rooms:rooms+gaussian_noise@0.2"})[
        "base"
    ]
    plain = images(watched(tmp_path / "plain", pair="rooms:rooms", methods="base")["base"])
    inside = (images(twice) > 0) & (images(twice) < 1)
    torch.testing.assert_close(
        (images(twice) - plain)[inside], 2 * (images(first) - plain)[inside], atol=1e-5, rtol=0
    )


def test_two_runs_of_a_shifted_pair_write_equal_tables(tmp_path: Path) -> None:
    for name in ("first", "second"):
        run(tmp_path / name, pair="rooms:rooms+gaussian_noise@0.1", methods="base,tent")
    for folder, _ in store.cells(tmp_path / "first"):
        other = tmp_path / "second" / folder.relative_to(tmp_path / "first")
        for table in ("rows", "statistics", "totals", "losses"):
            pd.testing.assert_frame_equal(
                store.read_table(folder, table), store.read_table(other, table)
            )


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Return an image after Pillow's JPEG encoder at its default settings."""
    stored, picture = io.BytesIO(), (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(stored, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stored))).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    ("shift", "quality"), [("jpeg@s3", 15), pytest.param("jpeg@30", 30, marks=pytest.mark.slow)]
)
def test_jpeg_is_pillows_at_that_quality(
    tmp_path: Path, watched: Callable[..., Seen], shift: str, quality: int
) -> None:
    plain = images(watched(tmp_path / "plain", pair="rooms:rooms", methods="base")["base"])
    found = images(watched(tmp_path / "jpeg", pair=f"rooms:rooms+{shift}", methods="base")["base"])
    torch.testing.assert_close(
        found, torch.stack([jpeg(image, quality) for image in plain]), atol=1e-6, rtol=0
    )


def test_a_shift_is_named_wherever_its_numbers_appear(tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = call(
        *(
            "run",
            "--preset",
            "smoke",
            "--methods",
            "base",
            "--device",
            "cpu",
            "--results",
            str(results),
        ),
        *(
            "--pair",
            "rooms:rooms",
            "--pair",
            "rooms:rooms+jpeg@30",
            "--pair",
            "rooms:rooms+jpeg@30.0",
        ),
    )
    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stderr, "a pair that is written in two ways is one"
    assert (
        done.stderr.count(
            "note: rooms: the images are shifted, the labels are not: jpeg@30 (JPEG compression"
        )
        == 1
    )
    rows = ttt_bench.read_results(results)
    assert set(rows.pair) == {"rooms:rooms", "rooms:rooms+jpeg@30"}
    base = (
        rows[(rows.method == "base") & (rows.step == 0) & (rows.metric == "rmse")]
        .set_index(["pair", "task"])
        .value
    )
    assert base["rooms:rooms", "depth"] != base["rooms:rooms+jpeg@30", "depth"]
    manifests = {m["pair"]: m for _, m in store.cells(results) if m["method"] == "base"}
    plain, shifted = manifests["rooms:rooms"], manifests["rooms:rooms+jpeg@30"]
    assert plain["provenance"]["source_data"] == shifted["provenance"]["source_data"]
    assert plain["provenance"]["checkpoints"] == shifted["provenance"]["checkpoints"]
    assert plain["provenance"]["target_data"] != shifted["provenance"]["target_data"]
    page = report(results, tmp_path / "report").page.read_text()
    assert "rooms+jpeg@30" in page


def test_a_shifted_real_target_keeps_its_labels(
    tmp_path: Path, watched: Callable[..., Seen]
) -> None:
    root = data_roots.small(tmp_path / "data")
    given = {"methods": "base,tent", "data_root": root}
    plain = watched(tmp_path / "plain", pair="taskonomy:nyud", **given)
    noisy = watched(tmp_path / "noisy", pair="taskonomy:nyud+gaussian_noise@0.1", **given)
    assert equal(noisy["tent"], noisy["base"])
    assert equal(noisy["base"], plain["base"], images_too=False)
    assert not torch.equal(images(noisy["base"]), images(plain["base"]))
    _, manifest = next(store.cells(tmp_path / "noisy"))
    assert "in metres" in manifest["scoring"]["depth"]
    assert manifest["classes"] == [
        "refrigerator",
        "table",
        "toilet",
        "sofa",
        "bed",
        "sink",
        "chair",
    ]
    assert any(
        "nyud: the images are shifted, the labels are not: gaussian_noise@0.1" in n
        for n in manifest["notices"]
    )


def test_pairs_of_one_request_look_at_their_files_once(tmp_path: Path) -> None:
    root = data_roots.small(tmp_path / "data")
    noises = [
        part
        for share in ("0.05", "0.1")
        for part in ("--pair", f"taskonomy:nyud+gaussian_noise@{share}")
    ]
    done = call(
        *(
            "run",
            "--preset",
            "smoke",
            "--methods",
            "base",
            "--device",
            "cpu",
            "--pair",
            "taskonomy:nyud",
            *noises,
        ),
        *("--data-root", str(root), "--results", str(tmp_path / "results")),
    )
    assert done.returncode == 0, done.stderr
    assert "3 done" in done.stderr
    for title in (
        "fingerprinting Taskonomy",
        "checking Taskonomy's files",
        "fingerprinting NYUD-v2",
    ):
        assert done.stderr.count(title) == 1, title


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("rooms+gausian_noise@0.1", "unknown shift 'gausian_noise'; did you mean gaussian_noise"),
        (
            "rooms+gaussian_noise@7",
            "takes a number from 0 to 1, its standard deviation as a multiple of the image's",
        ),
        ("rooms+jpeg", "shift jpeg needs its strength"),
        ("rooms+jpeg@s9", "no severity s9; jpeg has s1: 25, s2: 18"),
        ("rooms+elastic@s3", "elastic is not offered: it moves objects away from their labels"),
        ("rooms+", "a shifted domain is written DOMAIN+SHIFT@STRENGTH"),
    ],
)
def test_an_invalid_shift_is_refused_before_anything_is_written(
    tmp_path: Path, target: str, message: str
) -> None:
    results = tmp_path / "results"
    output = refused(
        "run", "--pair", f"rooms:{target}", "--preset", "smoke", "--results", str(results)
    )
    assert message in output
    assert not results.exists()
