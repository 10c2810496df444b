"""Every published pair from files to rows: images of the real sizes, one step, a tiny backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.command import Done, call
from support.files import data_roots, nyud_files, pascal_files
from support.files.scenes import scene
from support.short_form import short_form

import ttt_bench
from ttt_bench.results import store

SEVEN = ("refrigerator", "table", "toilet", "sofa", "bed", "sink", "chair")
SIX = ("table", "tv", "bottle", "sofa", "potted plant", "chair")
FOUR = ("semseg", "depth", "normals", "edge")
THREE = ("semseg", "normals", "edge")
SMALL = {
    "model.backbone": "test_resnet",
    "model.pretrained": False,
    "training.iterations": 3,
    "training.batch": 2,
    "batch": 2,
    "data.workers": 0,
    "data.test_subset": "all",
}


@dataclass(frozen=True)
class Expected:
    """Expected properties of a pair."""

    methods: str
    tasks: tuple[str, ...]
    space: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    images: int
    recipes: tuple[str, str]
    units: dict[str, str]


METRES = "negative depths set to 0, in metres"
BINARY = "sigmoid of the raw output, targets 0 or 1"
REAL = "raw output, targets blurred gradients, -1 on flat areas"
PAIRS = {
    "taskonomy:nyud": Expected(
        "base,tent,s4t",
        FOUR,
        "taskonomy_nyud_7",
        SEVEN,
        (448, 576),
        3,
        ("taskonomy", "weighted"),
        {"depth": METRES, "edge": BINARY},
    ),
    "taskonomy:pascal": Expected(
        "base,tent",
        THREE,
        "taskonomy_pascal_6",
        SIX,
        (512, 512),
        2,
        ("taskonomy", "weighted"),
        {"edge": BINARY},
    ),
    "nyud:taskonomy": Expected(
        "base,tent,clust3",
        FOUR,
        "taskonomy_nyud_7",
        SEVEN,
        (256, 256),
        2,
        ("weighted", "taskonomy"),
        {"depth": "raw output, in log(1 + counts) / log(65536)", "edge": REAL},
    ),
    "pascal:taskonomy": Expected(
        "base,tent,actmad",
        THREE,
        "taskonomy_pascal_6",
        SIX,
        (256, 256),
        2,
        ("weighted", "taskonomy"),
        {"edge": REAL},
    ),
}


@dataclass(frozen=True)
class Ran:
    """A pair's run: the command's exit code and output, and the folder of its results."""

    name: str
    done: Done
    results: Path
    root: Path

    @property
    def expected(self) -> Expected:
        return PAIRS[self.name]

    @property
    def base(self) -> Path:
        """The folder of Base's cell."""
        return next(
            folder for folder, manifest in store.cells(self.results) if manifest["method"] == "base"
        )

    def image_sums(self, task: str) -> dict[int, np.ndarray]:
        """Return Base's sums of every image before adaptation."""
        table = store.read_table(self.base, "statistics", step=0)
        return {row.image: np.asarray(row.values) for row in table[table.task == task].itertuples()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_roots.published(tmp_path_factory.mktemp("data"))


SHORT = ("taskonomy:nyud", "pascal:taskonomy")
"""Pairs that the suite runs; together they read every data set."""


@pytest.fixture(scope="module", params=short_form(PAIRS, SHORT))
def ran(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    """Run a pair by the command line."""
    name, results = request.param, tmp_path_factory.mktemp("pair")
    sets = [
        part for key, value in SMALL.items() for part in ("--set", f"{key}={str(value).lower()}")
    ]
    where = ("--data-root", str(root), "--results", str(results), "--device", "cpu")
    arguments = (
        "--pair",
        name,
        "--preset",
        "paper",
        "--steps",
        "1",
        "--methods",
        PAIRS[name].methods,
    )
    return Ran(name, call("run", *arguments, *where, *sets), results, root)


def test_a_pair_has_a_row_for_every_shared_task_step_and_class(ran: Ran) -> None:
    assert ran.done.returncode == 0, ran.done.stderr
    rows, expected = ttt_bench.read_results(ran.results), ran.expected
    assert np.isfinite(rows.value).all()
    assert set(rows.pair) == {ran.name}
    assert set(rows.preset) == {"paper"}
    assert set(rows.data_variant) == {"corrected"}
    assert set(rows.n) == {expected.images}
    for method in expected.methods.split(","):
        for step in (0, 1):
            own = rows[(rows.method == method) & (rows.step == step)]
            assert tuple(dict.fromkeys(own.task)) == expected.tasks
            classes = own[own.metric == "iou"]
            assert set(classes.task) == {"semseg"}
            assert tuple(classes["class"]) == expected.classes
    # one step at 2e-5 changes the score a little
    tent = (
        rows[(rows.method == "tent") & (rows.task == "normals") & (rows.metric == "merr")]
        .set_index("step")
        .value
    )
    assert tent[0] != tent[1]
    assert tent[0] == pytest.approx(tent[1], rel=0.05)


def test_a_cell_records_what_its_numbers_depend_on(ran: Ran) -> None:
    expected = ran.expected
    fingerprints: dict[str, set[str]] = {"source_data": set(), "target_data": set()}
    for _, manifest in store.cells(ran.results):
        config = manifest["configuration"]
        assert (config["pair"], tuple(config["tasks"])) == (ran.name, expected.tasks)
        assert (tuple(config["target_size"]), config["target_images"]) == (
            expected.size,
            expected.images,
        )
        assert tuple(manifest["preset_values"]["data"]["sizes"]["taskonomy"]) == (256, 256)
        assert (config["label_space"]["name"], tuple(config["label_space"]["classes"])) == (
            expected.space,
            expected.classes,
        )
        assert tuple(manifest["classes"]) == expected.classes
        assert (config["source_recipe"], config["target_recipe"]) == expected.recipes
        assert config["variant"] == {
            "name": "corrected",
            "normalisation": "imagenet",
            "label_resize": "nearest",
            "flip_negates_x": True,
            "normal_loss_axis": "channels",
            "one_pixel_crop": False,
            "mask_invalid": True,
            "balanced_crop": True,
        }
        assert {
            task: text for task, text in config["scoring"].items() if task in ("depth", "edge")
        } == expected.units
        provenance = manifest["provenance"]
        assert provenance["target_data"] == config["target"]
        for kind, found in fingerprints.items():
            found.add(provenance[kind])
    assert all(len(found) == 1 for found in fingerprints.values()), (
        "every method uses the same data"
    )
    assert fingerprints["source_data"] != fingerprints["target_data"]


def test_depth_is_in_the_targets_unit(ran: Ran) -> None:
    if ran.name == "taskonomy:nyud":
        for image, (count, _, total, *_) in ran.image_sums("depth").items():
            metres = nyud_files.view((425, 560), 2 + image).metres.astype(np.float32)
            assert count == (metres > 0).sum(), "padding and missing depth are not scored"
            assert total == pytest.approx(metres.sum(dtype=np.float64))
    elif ran.name == "nyud:taskonomy":
        for image, (count, _, total, *_) in ran.image_sums("depth").items():
            view = scene(512, 2 + image)
            coded = np.log1p(512 * view.metres) / np.log(65536)
            invalid = view.hole | view.beyond
            assert total / count == pytest.approx(coded[~invalid].mean(), abs=0.003)
            # at 256x256 a pixel represents four; pixels next to a hole are left out too
            assert 0.97 * (~invalid).sum() < 4 * count < (~invalid).sum()
    else:
        assert "depth" not in set(ttt_bench.read_results(ran.results).task)


def truths(name: str, image: int) -> list[int]:
    """Return the number of pixels per class in an image of the target.

    In Taskonomy every second pixel counts.
    """
    if name == "taskonomy:nyud":
        labels, ids = nyud_files.view((425, 560), 2 + image).labels, (24, 7, 33, 6, 4, 34, 5)
    elif name == "taskonomy:pascal":
        seed = 2 + image
        labels, ids = (
            pascal_files.view(data_roots.PASCAL_SIZES[seed % 2], seed).voc,
            (11, 20, 5, 18, 16, 9),
        )
        labels = pascal_files.bordered(labels) if seed % 2 == 0 else labels
    else:
        labels = scene(512, 2 + image).labels[1::2, 1::2]
        ids = (14, 7, 8, 4, 6, 13, 3) if name == "nyud:taskonomy" else (7, 9, 2, 4, 5, 3)
    return [int((labels == ident).sum()) for ident in ids]


def test_labels_are_those_of_the_pairs_classes(ran: Ran) -> None:
    classes = len(ran.expected.classes)
    for image, counts in ran.image_sums("semseg").items():
        found, wanted = counts.reshape(classes, classes).sum(1), truths(ran.name, image)
        assert min(wanted) > 0
        assert found.tolist() == wanted


def test_the_notices_contain_the_footnote_of_the_six_classes_and_unchecked_files(
    ran: Ran,
) -> None:
    output = ran.done.stderr
    assert ("the class bottle as toilet" in output) == ("pascal" in ran.name)
    titles = {"taskonomy": "Taskonomy", "nyud": "NYUD-v2", "pascal": "PASCAL-Context"}
    for domain in ran.name.split(":"):
        assert (
            output.count(
                f"note: {titles[domain]}: these files were not checked; run `ttt-bench data check`"
            )
            == 1
        )
    _, manifest = next(store.cells(ran.results))
    assert all(notice in output for notice in manifest["notices"])


def test_the_library_finds_the_results_of_the_command_line(ran: Ran) -> None:
    settings: dict[str, Any] = {
        "methods": ran.expected.methods,
        "pair": ran.name,
        "preset": "paper",
        "steps": 1,
    }
    settings |= {"set": SMALL, "device": "cpu", "data_root": ran.root, "results": ran.results}
    before = {path: path.stat().st_mtime_ns for path in ran.results.rglob("*.parquet")}
    rows = ttt_bench.run(**settings)
    pd.testing.assert_frame_equal(rows, ttt_bench.read_results(ran.results))
    assert before == {path: path.stat().st_mtime_ns for path in ran.results.rglob("*.parquet")}
