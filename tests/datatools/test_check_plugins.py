"""`data check` on the data sets of other packages: what their samples contain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.files.inside import inside
from support.findings import among

from ttt_bench.data.domains import Domain
from ttt_bench.data.images.file_dataset import SampledDataset
from ttt_bench.data.images.sample import Sample
from ttt_bench.data.registry import DATASETS
from ttt_bench.datatools.check import check, exit_code
from ttt_bench.util.progress import Silent

SIZE = (48, 64)
TASKS = ("semseg", "depth", "normals")
DOMAIN = Domain(
    name="halls",
    description="rooms in closed form",
    tasks=TASKS,
    folder="halls",
    opener=f"{__name__}:Halls",
    label_ids={"taskonomy_nyud_7": ((1,), (2,), (3,), (4,), (5,), (6,), (7,))},
)
Change = Callable[[Sample, int], Sample]
CHANGE: list[Change] = []
"""The fault of the samples, if any."""


class Halls(SampledDataset):
    """Eight views of a room; surfaces are classes."""

    domain = "halls"
    tasks = TASKS
    fingerprint = "halls"

    def __init__(
        self, root: Path, split: str, size: tuple[int, int], progress: Any, **_: Any
    ) -> None:
        self.size, self.split = size, split

    def __len__(self) -> int:
        return 8

    def sample(self, index: int) -> Sample:
        room = inside(SIZE, turned=-0.4 + 0.1 * index)
        shade = np.array([200, 90, 150, 120, 170])[room.surface]
        sample: Sample = {
            "image": np.repeat(shade[None], 3, 0).astype(np.uint8),
            "semseg": room.surface.astype(np.uint8),
            "depth": room.metres[None].astype(np.float32),
            "normals": room.vectors.astype(np.float32),
        }
        return CHANGE[0](sample, index) if CHANGE else sample


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "halls").mkdir()
    with DATASETS.extended({"halls": DOMAIN}):
        yield tmp_path
    CHANGE.clear()


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda sample, index: {**sample, name: change(sample[name])}


@pytest.mark.parametrize("below", ["", "halls"])
def test_a_sound_data_set_is_described(root: Path, below: str) -> None:
    findings = check(root / below, Silent())
    assert exit_code(findings, strict=True) == 0, [f for f in findings if f.level != "ok"]
    assert among(findings, "ok", "layout", "halls", "the data set halls of the package")
    assert among(findings, "ok", "values", "test: semseg on 100.0% of the pixels", "toilet ")
    assert among(findings, "ok", "values", "test: depth: median")
    assert among(findings, "ok", "agreement", "test: label maps and images agree: 8 of 8")


@pytest.mark.parametrize(
    ("change", "level", "check_name", "words"),
    [
        (changed("semseg", lambda ids: ids + np.uint8(5)), "error", "values", "semseg holds"),
        (
            changed("depth", lambda metres: np.where(metres < 2, 0, metres).astype(np.float32)),
            "error",
            "values",
            "depth is 0 in",
        ),
        (
            changed("depth", lambda metres: metres * np.float32(1000)),
            "error",
            "values",
            "expected metres below",
        ),
        (
            changed("normals", lambda vectors: vectors * np.float32(0.5)),
            "error",
            "values",
            "normals have lengths",
        ),
        (
            changed("depth", lambda metres: metres * np.float32(np.nan)),
            "error",
            "values",
            "not finite",
        ),
        (
            changed("image", lambda image: image[..., ::-1].copy()),
            "warning",
            "agreement",
            "images fit their label maps, depth maps and normals when mirrored",
        ),
        (
            changed(
                "semseg",
                lambda ids: np.random.default_rng(0).integers(0, 5, ids.shape).astype(np.uint8),
            ),
            "warning",
            "values",
            "of neighbouring pixels have different ids",
        ),
    ],
)
def test_wrong_samples_are_named(
    root: Path, change: Change, level: str, check_name: str, words: str
) -> None:
    CHANGE.append(change)
    findings = check(root, Silent())
    assert among(findings, level, check_name, words)


def test_a_sample_that_changes_is_an_error(root: Path) -> None:
    draw = np.random.default_rng(0)
    CHANGE.append(changed("image", lambda image: image + draw.integers(0, 2, dtype=np.uint8)))
    findings = check(root, Silent())
    assert among(findings, "error", "values", "sample 0 differs when it is read again")


def test_images_in_two_splits_are_named_if_the_class_names_its_images(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Halls, "ids", lambda self: frozenset({"a", self.split}))
    findings = among(check(root, Silent()), "warning", "splits", "share 1 image (a); no image")
    pairs = [("train", "val"), ("train", "test"), ("train", "tune"), ("val", "test")]
    for (first, second), finding in zip(pairs, findings, strict=False):
        assert f"the splits {first} and {second} share" in finding.message
    assert len(findings) == 6

    def fail(self: Halls) -> frozenset[str]:
        raise KeyError("names")

    monkeypatch.setattr(Halls, "ids", fail)
    findings = check(root, Silent())
    assert among(findings, "error", "splits", "`ids` failed", "KeyError")
    assert among(findings, "ok", "values"), "the other checks run"
    monkeypatch.setattr(Halls, "ids", lambda self: {1, "a"})
    assert among(check(root, Silent()), "error", "splits", "return a frozenset of texts")


def test_code_that_fails_is_an_error_without_a_traceback(root: Path) -> None:
    def fail(sample: Sample, index: int) -> Sample:
        raise KeyError("labels")

    CHANGE.append(fail)
    findings = check(root, Silent())
    assert exit_code(findings) == 2
    assert among(findings, "error", "files", "train: sample 0 cannot be read: KeyError")


def test_an_unknown_folder_is_still_an_error(root: Path) -> None:
    (root / "halls").rmdir()
    (root / "attic").mkdir()
    assert among(check(root, Silent()), "error", "layout", "no known data set below")
