"""The command that a section prints for its data."""

from __future__ import annotations

import shlex
from pathlib import Path

from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.report.parts.commands import report_command, run_command
from ttt_bench.report.selection.choices import Choices, names_of
from ttt_bench.results.method_names import SHORT_NAMES


def options(folder: Path) -> dict[str, str]:
    """Return the options of the printed command of a folder's only comparison."""
    (comparison,) = compared(folder)
    program, verb, *words = shlex.split(run_command(comparison))
    assert (program, verb) == ("ttt-bench", "run")
    flags = [word for word in words if word == "--agreement"]
    words = [word for word in words if word != "--agreement"]
    return dict(zip(words[::2], words[1::2], strict=True)) | dict.fromkeys(flags, "")


def test_it_names_what_the_cells_share(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="b")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="t", seed=0)
    found = options(tmp_path)
    assert found["--methods"] == "base,tent"
    assert found["--seeds"] == "0"
    assert "--agreement" not in found


def test_it_omits_what_the_run_would_refuse(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="b")
    add_cell(tmp_path, "memo", state="not_applicable", reason="needs episodic", config="m")
    assert options(tmp_path)["--methods"] == "base"


def test_it_asks_for_the_signal_that_costs_a_pass(tmp_path: Path) -> None:
    shared = {"manifest": {"configuration": {"signals": ["change", "agreement"]}}}
    add_cell(tmp_path, "base", constant(BASE), config="b", **shared)
    assert "--agreement" in options(tmp_path)


def test_a_report_is_written_again_with_the_same_choices() -> None:
    choices = Choices(
        methods=("tent", "s4t"),
        rule="fixed",
        controls=False,
        tables=("main", "sync"),
        names=names_of("tent=Tent (ours)"),
    )
    command = shlex.split(report_command([Path("results/a"), Path("b")], Path("out"), choices))
    assert command[:6] == ["ttt-bench", "report", "--results", "results/a", "--results", "b"]
    assert command[6:] == [
        *("--methods", "tent,s4t", "--rule", "fixed", "--no-controls"),
        *("--tables", "main,sync", "--names", "tent=Tent (ours)", "--out", "out"),
    ]
    plain = report_command([Path("results/a")], Path("reports/a"), Choices())
    assert plain == "ttt-bench report --results results/a"
    short = report_command([Path("results/a")], Path("reports/a"), Choices(names=SHORT_NAMES))
    assert short.endswith("--names short")
    mixed = Choices(names=names_of("short,base=B"))
    assert report_command([Path("a")], Path("reports/a"), mixed).endswith("--names short,base=B")
