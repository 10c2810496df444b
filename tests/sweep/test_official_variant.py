"""`--data-variant official` from the command line to the rows: its effects and its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from support.command import call, refused
from support.files import data_roots, nyud_files

import ttt_bench
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.config.preset import ModelConfig
from ttt_bench.model.architecture import build_model
from ttt_bench.report.render import summary_rows
from ttt_bench.results import store
from ttt_bench.util import tensor_file

VARIANTS = ("corrected", "official")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # [0, 1] to [-1, 1]
TASKONOMY, NYUD = (32, 32), (48, 64)


@pytest.fixture(scope="module")
def normalisations() -> dict[tuple[str, str], Any]:
    """Return (source, variant) -> the normalisations of the target that the methods used."""
    return {}


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory,
    room_cache: Path,
    normalisations: dict[tuple[str, str], Any],
) -> Iterator[Path]:
    """Run both variants of two pairs into one results folder."""
    root, folder = (
        data_roots.small(tmp_path_factory.mktemp("data")),
        tmp_path_factory.mktemp("results"),
    )
    whole = ProtocolRun.run

    def run(self: ProtocolRun, *args: Any) -> None:
        model = self.session.net.model
        mean_std = tuple(
            tuple(round(v, 6) for v in x.flatten().tolist()) for x in (model.mean, model.std)
        )
        normalisations.setdefault((source, variant), set()).add(mean_std)
        whole(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProtocolRun, "run", run)
        for variant in VARIANTS:
            for source, target in (("taskonomy", "nyud"), ("nyud", "taskonomy")):
                done = call(
                    *(
                        "run",
                        "--pair",
                        f"{source}:{target}",
                        "--preset",
                        "smoke",
                        "--methods",
                        "base,s4t",
                    ),
                    *(
                        "--data-variant",
                        variant,
                        "--data-root",
                        str(root),
                        "--results",
                        str(folder),
                        "--device",
                        "cpu",
                    ),
                    *(
                        "--set",
                        "data.test_subset=all",
                        "--set",
                        f"data.sizes.taskonomy={list(TASKONOMY)}",
                    ),
                    *("--set", f"data.sizes.nyud={list(NYUD)}"),
                    TTT_BENCH_CACHE=str(room_cache),
                )
                assert done.returncode == 0, done.stderr
        yield folder


def cell(
    results: Path, pair: str, variant: str, method: str = "base"
) -> tuple[Path, dict[str, Any]]:
    return next(
        (folder, manifest)
        for folder, manifest in store.cells(results)
        if (manifest["pair"], manifest["data_variant"], manifest["method"])
        == (pair, variant, method)
    )


def image_sums(results: Path, pair: str, variant: str, task: str) -> np.ndarray:
    """Return Base's sums before adaptation, one row per image of the target."""
    table = store.read_table(cell(results, pair, variant)[0], "statistics", step=0)
    return np.stack(table[table.task == task].sort_values("image")["values"].to_numpy())


def test_the_variant_and_every_option_of_it_are_recorded(results: Path) -> None:
    rows = ttt_bench.read_results(results)
    assert set(rows.groupby("data_variant").pair.nunique()) == {2}
    official = {
        "name": "official",
        "normalisation": "per_dataset",
        "label_resize": "bilinear",
        "flip_negates_x": False,
        "normal_loss_axis": "width",
        "one_pixel_crop": True,
        "mask_invalid": False,
        "balanced_crop": False,
    }
    for source, target in (("taskonomy", "nyud"), ("nyud", "taskonomy")):
        config = cell(results, f"{source}:{target}", "official")[1]["configuration"]
        assert config["variant"] == official
        recipes = {"taskonomy": "taskonomy_official", "nyud": "weighted"}
        assert (config["source_recipe"], config["target_recipe"]) == (
            recipes[source],
            recipes[target],
        )
        assert config["target_statistics"] == {"taskonomy": "unscaled", "nyud": "imagenet"}[target]
        corrected = cell(results, f"{source}:{target}", "corrected")[1]["configuration"]
        assert corrected["target_statistics"] == "imagenet"
        assert "taskonomy_official" not in (corrected["source_recipe"], corrected["target_recipe"])


def test_each_variant_has_its_own_data_source_models_and_tables(results: Path) -> None:
    for pair in ("taskonomy:nyud", "nyud:taskonomy"):
        first, second = (cell(results, pair, variant)[1] for variant in VARIANTS)
        for key in ("source_data", "target_data"):
            assert first["provenance"][key] != second["provenance"][key]
        assert not set(first["provenance"]["checkpoints"]) & set(
            second["provenance"]["checkpoints"]
        )
        assert first["comparison"] != second["comparison"]
    tables: dict[tuple[str, str], set[str]] = {}
    for record in summary_rows(results):
        tables.setdefault((record["pair"], record["comparison"]), set()).add(record["data_variant"])
    assert len(tables) == 4
    assert all(len(variants) == 1 for variants in tables.values())


def test_the_normalisation_belongs_to_the_data_set_under_the_official_variant(
    results: Path, normalisations: dict[tuple[str, str], set[Any]]
) -> None:
    """Taskonomy is scaled to [-1, 1], the others are normalised by ImageNet's statistics.

    A model is therefore adapted under another normalisation than it was trained with.
    """
    wanted = {
        ("taskonomy", "corrected"): (IMAGENET, IMAGENET),
        ("nyud", "corrected"): (IMAGENET, IMAGENET),
        ("taskonomy", "official"): (HALF, IMAGENET),
        ("nyud", "official"): (IMAGENET, HALF),
    }
    for (source, variant), (training, adapting) in wanted.items():
        assert normalisations[source, variant] == {adapting}
        target = "nyud" if source == "taskonomy" else "taskonomy"
        for method in ("base", "s4t"):
            _, manifest = cell(results, f"{source}:{target}", variant, method)
            for key in manifest["provenance"]["checkpoints"]:
                trained, _ = tensor_file.load(results / "checkpoints" / f"{key}.safetensors")
                for name, values in zip(("model.mean", "model.std"), training, strict=True):
                    assert trained[name].flatten().tolist() == pytest.approx(values)


def test_invalid_pixels_of_taskonomy_are_scored(results: Path) -> None:
    """Depth out of range and missing normals are scored.

    A view of 64x64 has a hole of 36 pixels, and 16 pixels out of range.
    """
    pixels = TASKONOMY[0] * TASKONOMY[1]
    for task, invalid in (("depth", 36 + 16), ("normals", 36)):
        official, corrected = (
            image_sums(results, "nyud:taskonomy", variant, task)[:, 0] for variant in VARIANTS[::-1]
        )
        assert (official == pixels).all()
        assert (corrected <= pixels - invalid / 4).all()
    depth = image_sums(results, "nyud:taskonomy", "official", "depth")
    corrected = image_sums(results, "nyud:taskonomy", "corrected", "depth")
    assert (depth[:, 2] / depth[:, 0] > corrected[:, 2] / corrected[:, 0]).all(), (
        "invalid depth counts as the largest depth"
    )


def test_middle_grey_counts_as_a_normal_of_nyud(results: Path) -> None:
    holes = [nyud_files.view(NYUD, 3 + image).hole.sum() for image in range(2)]
    pixels = NYUD[0] * NYUD[1]
    assert image_sums(results, "taskonomy:nyud", "official", "normals")[:, 0].tolist() == [
        pixels,
        pixels,
    ]
    corrected = image_sums(results, "taskonomy:nyud", "corrected", "normals")[:, 0]
    assert corrected.tolist() == [pixels - hole for hole in holes]
    depths = [
        image_sums(results, "taskonomy:nyud", variant, "depth")[:, [0, 2]] for variant in VARIANTS
    ]
    assert np.array_equal(*depths), "depth of 0 is missing in both"


def test_label_maps_of_taskonomy_are_mixed_at_borders(results: Path) -> None:
    """Ids are averaged, so that other classes appear between two objects."""
    corrected, official = (
        image_sums(results, "nyud:taskonomy", variant, "semseg").reshape(-1, 7, 7).sum(2)
        for variant in VARIANTS
    )
    assert (corrected != official).any(axis=1).all()
    sofa, bed = 3, 4  # ids 4 and 6, between those of chair (3) and table (7)
    assert (official[:, [sofa, bed]].sum(1) > corrected[:, [sofa, bed]].sum(1)).all()


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    assert "unknown data variant 'oficial'; did you mean official?" in refused(
        "run", "--data-variant", "oficial", "--preset", "smoke", "--results", str(tmp_path)
    )


def test_on_rendered_rooms_the_variants_differ_in_name_alone(tmp_path: Path) -> None:
    values = []
    for variant in VARIANTS:
        folder = tmp_path / variant
        rows = ttt_bench.run(
            methods="base", preset="smoke", device="cpu", data_variant=variant, results=folder
        )
        assert set(rows.data_variant) == {variant}
        values.append(rows.value)
    assert values[0].equals(values[1])


def test_a_model_trained_elsewhere_keeps_its_own_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model(
        ModelConfig(backbone="test_resnet"), {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}
    )
    model.mean.fill_(0.25)
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    means = []
    whole = ProtocolRun.run

    def run(self: ProtocolRun, *args: Any) -> None:
        means.append(self.session.net.model.mean[0, 0].item())
        whole(self, *args)

    monkeypatch.setattr(ProtocolRun, "run", run)
    given: dict[str, Any] = {"methods": "base", "preset": "smoke", "device": "cpu"}
    ttt_bench.run(
        **given, source_weights=tmp_path / "mine.safetensors", results=tmp_path / "results"
    )
    assert means == [0.25]
