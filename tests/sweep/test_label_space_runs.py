"""The classes that a run segments: the shared ones, another built-in space, or a custom one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command import Done, call, refused
from support.files import data_roots, nyud_files

import ttt_bench
from ttt_bench.results import store

OWN = """
[label_spaces.seats]
classes = ["seat", "bed"]
taskonomy = [[3, 4], 6]
nyud = [[5, 6], 4]
footnote = "Chairs and sofas are one class."
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_roots.small(tmp_path_factory.mktemp("data"))


def arguments(root: Path, results: Path, pair: str, *more: str) -> tuple[str, ...]:
    where = ("--data-root", str(root), "--results", str(results), "--device", "cpu")
    return ("--pair", pair, "--preset", "smoke", "--methods", "base,tent", *where, *more)


def run(root: Path, results: Path, pair: str, *more: str) -> Done:
    done = call("run", *arguments(root, results, pair, "--set", "data.sizes.nyud=[48, 64]", *more))
    assert done.returncode == 0, done.stderr
    return done


def truth(results: Path, classes: int) -> np.ndarray:
    """Return the labelled pixels of each class, one row per image."""
    folder, _ = next(store.cells(results))
    table = store.read_table(folder, "statistics", step=0)
    values = table[table.task == "semseg"].sort_values("image")["values"]
    return np.stack(values.to_numpy()).reshape(-1, classes, classes).sum(2)


def config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return str(path)


def test_a_custom_label_space_from_a_config_file(root: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    path = config(tmp_path, f'label_space = "seats"\n{OWN}')
    done = run(root, results, "taskonomy:nyud", "--config", path)
    assert "note: Chairs and sofas are one class." in done.stderr
    rows = ttt_bench.read_results(results)
    assert set(rows[rows.metric == "iou"]["class"]) == {"seat", "bed"}
    assert all("label_space=seats" in text for text in rows.settings)
    for _, manifest in store.cells(results):
        assert manifest["classes"] == ["seat", "bed"]
        assert manifest["configuration"]["label_space"] == {
            "name": "seats",
            "classes": ["seat", "bed"],
            "native": {"taskonomy": [[3, 4], [6]], "nyud": [[5, 6], [4]]},
        }
    for image, counts in enumerate(truth(results, 2)):
        labels = nyud_files.view((48, 64), 3 + image).labels
        assert counts.tolist() == [np.isin(labels, (5, 6)).sum(), (labels == 4).sum()]


@pytest.mark.slow
def test_the_command_line_chooses_among_a_config_files_spaces(root: Path, tmp_path: Path) -> None:
    path = config(tmp_path, OWN)
    for name, classes in ((None, 7), ("seats", 2), ("taskonomy_nyud_7", 7)):
        chosen = ("--label-space", name) if name else ()
        results = tmp_path / f"results-{name}"
        run(root, results, "taskonomy:nyud", "--config", path, *chosen)
        assert truth(results, classes).sum() > 0
    # naming the default space gives the same cell
    first, second = (
        ttt_bench.read_results(tmp_path / f"results-{name}") for name in (None, "taskonomy_nyud_7")
    )
    assert first.equals(second)
    assert not any("label_space" in text for text in first.settings)


def test_a_space_that_ships_and_needs_further_files(root: Path, tmp_path: Path) -> None:
    done = run(
        root, tmp_path / "results", "taskonomy:pascal", "--label-space", "taskonomy_pascal_6_toilet"
    )
    assert "not comparable with published numbers" in done.stderr
    rows = ttt_bench.read_results(tmp_path / "results")
    names = ["table", "tv", "toilet", "sofa", "potted plant", "chair"]
    assert list(dict.fromkeys(rows[rows.metric == "iou"]["class"])) == names


@pytest.mark.slow
def test_pairs_of_other_domains_take_the_space_that_they_share(root: Path, tmp_path: Path) -> None:
    run(root, tmp_path / "results", "nyud:pascal")
    rows = ttt_bench.read_results(tmp_path / "results")
    assert list(dict.fromkeys(rows[rows.metric == "iou"]["class"])) == [
        "person",
        "sofa",
        "chair",
        "table",
    ]
    done = run(
        root,
        tmp_path / "other",
        "rooms:pascal",
        "--set",
        "data.rendered_train=8",
        "--methods",
        "base",
    )
    assert "semseg is left out, no label space has ids for both rooms and pascal" in done.stderr
    rows = ttt_bench.read_results(tmp_path / "other")
    assert set(rows.task) == {"normals", "edge"}


def test_source_models_of_other_classes_are_stored_side_by_side(root: Path, tmp_path: Path) -> None:
    results, path = tmp_path / "results", config(tmp_path, OWN)
    for name in ("seats", "taskonomy_nyud_7"):
        done = call(
            "train",
            *arguments(root, results, "taskonomy:nyud", "--config", path, "--label-space", name),
        )
        assert done.returncode == 0, done.stderr
    run_later = call(
        "run",
        *arguments(root, results, "taskonomy:nyud", "--config", path, "--label-space", "seats"),
    )
    assert run_later.returncode == 0, run_later.stderr
    assert "training" not in run_later.stderr, "the source model was there"
    # the same name with other ids is another space; the files have not changed
    changed = config(tmp_path, OWN.replace("[3, 4], 6", "[3], 6"))
    again = call(
        "run",
        *arguments(root, results, "taskonomy:nyud", "--config", changed, "--label-space", "seats"),
    )
    assert again.returncode == 0, again.stderr
    assert "training base on taskonomy" in again.stderr


def refusal(root: Path, tmp_path: Path, pair: str, text: str, *more: str) -> str:
    return refused(
        "run",
        *arguments(root, tmp_path / "results", pair, "--config", config(tmp_path, text), *more),
    )


@pytest.mark.parametrize(
    ("pair", "name", "message"),
    [
        ("taskonomy:nyud", "seat", "unknown label space 'seat'; did you mean seats?"),
        (
            "taskonomy:pascal",
            "seats",
            "taskonomy:pascal: label space seats has no ids for pascal, only for taskonomy, nyud",
        ),
        ("nyud:pascal", "taskonomy_pascal_6", "label space taskonomy_pascal_6 has no ids for nyud"),
        ("rooms:rooms-mix", "seats", "label space seats has no ids for rooms and rooms-mix"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(
    root: Path, tmp_path: Path, pair: str, name: str, message: str
) -> None:
    assert message in refusal(root, tmp_path, pair, OWN, "--label-space", name)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            'classes = ["a", "b"]\nnyud = [41, 1]',
            "label space seats, data set nyud: native id 41 is not in 0..40",
        ),
        ('classes = ["a", "b"]\nnyud = [3]', "1 entries for 2 classes"),
        (
            'classes = ["a", "b"]\nnyud = ["bed", 1]',
            "'bed' is not a native id; ids are whole numbers",
        ),
        ("nyud = [3]", "label space seats: classes must be a list of names, got None"),
    ],
)
def test_a_table_that_is_wrong_is_refused(
    root: Path, tmp_path: Path, table: str, message: str
) -> None:
    assert message in refusal(root, tmp_path, "taskonomy:nyud", f"[label_spaces.seats]\n{table}\n")


def test_rooms_have_ids_too(tmp_path: Path) -> None:
    text = '[label_spaces.furniture]\nclasses = ["seat", "flat"]\nrooms = [[3, 6], [1, 4]]\n'
    results = tmp_path / "results"
    common: tuple[Any, ...] = ("--preset", "smoke", "--methods", "base", "--device", "cpu")
    for name, more in (("whole", ()), ("own", ("--label-space", "furniture"))):
        done = call(
            "run",
            *common,
            "--results",
            str(results / name),
            "--config",
            config(tmp_path, text),
            *more,
        )
        assert done.returncode == 0, done.stderr
    whole, own = truth(results / "whole", 7), truth(results / "own", 2)
    assert np.array_equal(own[:, 0], whole[:, 3] + whole[:, 6])
    assert np.array_equal(own[:, 1], whole[:, 1] + whole[:, 4])
    planned = call(
        "run",
        *common,
        "--config",
        config(tmp_path, text),
        "--label-space",
        "furniture",
        "--plan",
        "--json",
    )
    assert [record["settings"] for record in json.loads(planned.stdout)] == [
        "label_space=furniture"
    ]
