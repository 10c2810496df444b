"""`ttt-bench compare`: rows, folders, formats, limits and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import call, refused
from support.generated import generate
from support.synthetic import BASE, add_cell, build, constant, gains

from ttt_bench import open_results
from ttt_bench.analysis.comparing.compared import between
from ttt_bench.analysis.limits import exceeded, limit
from ttt_bench.cli.compare import Side, side
from ttt_bench.errors import BenchError

METHODS = ("base", "norm", "s4t")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with statistics: 3 seeds, 2 steps, 12 images in batches of 4."""
    sizes = {"seeds": 3, "steps": 2, "images": 12, "batch": 4, "classes": 3}
    return generate(tmp_path_factory.mktemp("made"), methods=METHODS, workers=1, **sizes)


def folder(root: Path, gain: float, target: str = "abc") -> Path:
    """Write base and tent, which gains this many percent; return the folder."""
    shared: dict[str, Any] = {"manifest": {"configuration": {"target": target}}}
    add_cell(root, "base", constant(BASE, 1), **shared)
    add_cell(root, "tent", gains(0, gain), **shared)
    return root


def records(*arguments: str | Path, kind: str = "difference") -> list[dict[str, Any]]:
    """Return the records of one kind that a comparison prints."""
    done = call("compare", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [one for one in json.loads(done.stdout) if one["kind"] == kind]


def test_the_table_states_what_may_be_claimed(made: Path) -> None:
    done = call("compare", "s4t", "norm", "--results", made, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    frame = open_results(made).compare("s4t", "norm").set_index("quantity")
    delta = frame.loc["delta_ttt"]
    shown = f"{delta['mean']:.2f} [{delta['low']:.2f}, {delta['high']:.2f}]".replace("-", "−")
    assert " ".join(shown.split()) in " ".join(done.stdout.replace("▼", "").split())
    assert (
        f"95 % interval {delta['low']:.2f} to {delta['high']:.2f}".replace("-", "−") in done.stdout
    )
    assert "3 seeds, 3 batches" in done.stdout
    assert "They do not cover another source data set" in done.stdout
    assert done.stdout.count("image ") >= 5


def test_json_has_the_numbers_of_the_results(made: Path) -> None:
    found = records("s4t", "norm", "--results", made)
    frame = open_results(made).compare("s4t", "norm")
    assert [one["quantity"] for one in found] == list(frame["quantity"])
    assert [one["low"] for one in found] == list(frame["low"])
    assert set(found[0]["values"]) == {"0", "1", "2"}
    images = records("s4t", "norm", "--results", made, "--images", "2", kind="image")
    assert len(images) == 2 * 4


@pytest.mark.parametrize(
    ("options", "labels"),
    [((), ["norm", "s4t", "s4t (frozen)"]), (("--methods", "norm"), ["norm"])],
)
def test_two_folders_compare_rows_of_equal_names(
    options: tuple[str, ...], labels: list[str], made: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.symlink_to(made)
    # one folder under two names is one folder
    assert "name a row" in refused("compare", made, other)
    sizes = {"seeds": 2, "steps": 2, "images": 12, "batch": 4, "classes": 3}
    generate(tmp_path / "new", methods=METHODS, workers=1, **sizes)
    found = records(made, tmp_path / "new", *options)
    assert [one["a"] for one in found if one["quantity"] == "delta_ttt"] == labels
    assert {one["seeds"] for one in found} == {2}


def test_a_row_of_each_folder(tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "a", 5), folder(tmp_path / "b", 3)
    (delta,) = (
        one for one in records(f"{ours}:tent", f"{theirs}:base") if one["quantity"] == "delta_ttt"
    )
    assert delta["mean"] == pytest.approx(5)
    # a row that only one side names is that of the other side, too
    found = records(f"{ours}:tent", theirs)
    assert {(one["a"], one["b"]) for one in found} == {("tent", "tent")}


def test_the_kind_of_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "made")
    monkeypatch.chdir(tmp_path)
    default = Path("run")
    assert side("made", default) == Side(Path("made"), None)
    assert side("made:s4t (frozen)", default) == Side(Path("made"), "s4t (frozen)")
    assert side("s4t (mask_ratio=0.5)", default) == Side(default, "s4t (mask_ratio=0.5)")
    assert side("s4t (file=a/b)", default) == Side(default, "s4t (file=a/b)")
    assert "results/none is not a results folder" in refused("compare", "results/none", "made")


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return A and B; A is worse by 2 points: 0.016 of depth, 0.8 degrees, 0.004 of edges."""
    root = tmp_path_factory.mktemp("worse")
    return folder(root / "a", 3), folder(root / "b", 5)


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        (("delta:2.1", "depth:0.1"), 0),
        (("delta:1.9",), 1),
        (("depth:0.1", "delta:1.9"), 1),
        (("depth:0.01", "normals:0.5", "edge:0"), 3),
        (("semseg:0.5",), 0),
        (("semseg:0.3",), 1),
    ],
)
def test_losses_beyond_limits_are_listed(
    limits: tuple[str, ...], count: int, worse: tuple[Path, Path]
) -> None:
    ours, theirs = (open_results(path).evidence for path in worse)
    given = [limit(text) for text in limits]
    for first, second, expected in ((ours, theirs, count), (theirs, ours, 0)):
        compared = between(first, second)
        assert len(exceeded(compared, compared.differences("fixed"), given)) == expected


def test_a_loss_beyond_a_limit_ends_with_code_3(worse: tuple[Path, Path]) -> None:
    done = call("compare", *worse, "--fail-if-worse", "delta:1.9")
    assert done.returncode == 3
    assert "rooms:rooms-mix: TENT: delta is worse by 2 (limit 1.9)" in done.stderr
    assert call("compare", *worse, "--fail-if-worse", "delta:2.1").returncode == 0


def test_a_limit_needs_all_rows_of_the_other_side(tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "a", 5), folder(tmp_path / "b", 5)
    add_cell(theirs, "norm", gains(0, 1))
    given = ("--fail-if-worse", "delta:1")
    done = call("compare", ours, theirs, *given)
    assert done.returncode == 2
    assert "A lacks numbers: only B has numbers of Norm" in done.stderr
    assert call("compare", ours, theirs, *given, "--methods", "tent").returncode == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("delta", "delta: the margin must be a number of at least 0, as in delta:0.5"),
        ("depth:-1", "the margin must be a number"),
        ("depth:nan", "the margin must be a number"),
        ("detph:1", "did you mean depth"),
    ],
)
def test_a_limit_that_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(BenchError) as wrong:
        limit(text)
    assert words in str(wrong.value)


def test_other_data_are_refused_unless_allowed(tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "a", 5), folder(tmp_path / "b", 3, target="xyz")
    message = refused("compare", ours, theirs)
    assert "rooms:rooms-mix: target is abc and xyz" in message
    assert message.endswith("--allow target")
    done = call("compare", ours, theirs, "--allow", "all", COLUMNS="200")
    assert "target is abc and xyz, which was allowed" in done.stdout


def test_one_seed_without_statistics_allows_no_claim(tmp_path: Path) -> None:
    done = call("compare", "tent", "base", "--results", folder(tmp_path, 3), COLUMNS="200")
    assert "there is no interval, so no claim" in done.stdout


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    # seed 1 of s4t diverged, seed 2 was not run
    done = call("compare", "s4t", "tent", "--results", build(tmp_path), COLUMNS="250")
    text = (
        "S4T has no numbers for seed 1, 2, which is left out (diverged: loss not finite at batch 2"
    )
    assert text in done.stdout


def test_tables_are_written_as_markdown_and_latex(made: Path, tmp_path: Path) -> None:
    files = {"--markdown": tmp_path / "new" / "c.md", "--latex": tmp_path / "c.tex"}
    options = [word for pair in files.items() for word in pair]
    done = call("compare", "s4t", "norm", "--results", made, *options)
    assert done.returncode == 0, done.stderr
    assert "| **S4T against Norm: A − B** |" in files["--markdown"].read_text(encoding="utf-8")
    text = files["--latex"].read_text(encoding="utf-8")
    assert text.count("\\begin{table*}") == text.count("\\end{table*}") == 2
    assert "tab:compare-2" in text
    notes = (tmp_path / "c_notes.tex").read_text(encoding="utf-8")
    assert "\\textbf{Intervals.} 95 \\%" in notes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("s4t", "nrom"), "unknown row 'nrom'; did you mean norm?"),
        (("s4t", "norm", "--rule", "fix"), "did you mean fixed?"),
        (("s4t", "norm", "--seeds", "a"), "--seeds a: give whole numbers"),
        (("s4t", "norm", "--seeds", "7"), "unknown seed '7'"),
        (("s4t", "norm", "--tasks", "dept"), "did you mean depth?"),
        (("s4t", "norm", "--pair", "made:other"), "unknown pair"),
        (("s4t", "s4t"), "the same row"),
        (("s4t", "norm", "--seeds", ""), "no seed is selected"),
        (("s4t", "norm", "--tasks", ","), "no task is selected"),
        (("s4t", "norm", "--methods", "tent"), "--methods selects rows of two results folders"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], words: str, made: Path) -> None:
    message = refused("compare", *arguments, "--results", made)
    assert words in message
    assert "\n" not in message


def test_selections_apply_to_both_sides(made: Path) -> None:
    found = records("s4t", "norm", "--results", made, "--seeds", "0,2", "--tasks", "depth,edge")
    assert [one["quantity"] for one in found] == ["depth", "edge", "delta_ttt", "delta_ttt_no_edge"]
    assert set(found[0]["values"]) == {"0", "2"}
