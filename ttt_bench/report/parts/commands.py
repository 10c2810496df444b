"""Commands that make the data of a report, as its pages print them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ttt_bench.report.selection.choices import Choices, options_of
from ttt_bench.report.selection.place import usual_folder
from ttt_bench.stats.comparison import Comparison
from ttt_bench.util.store.address import shown


def run_command(comparison: Comparison) -> str:
    """Return a `ttt-bench run` that makes the cells of a comparison that have default settings.

    Settings that are not shared by all cells, such as those of a method's variant, are left out, as
    are methods that are not applicable: a run that names them is refused.
    """
    return shlex.join(["ttt-bench", "run", *_options(comparison)])


def report_command(results: Sequence[Path], out: Path, choices: Choices) -> str:
    """Return the `ttt-bench report` that writes a report."""
    words = ["ttt-bench", "report"]
    for folder in results:
        words += ["--results", shown(folder)]
    words += options_of(choices)
    if out != usual_folder(results):
        words += ["--out", shown(out)]
    return shlex.join(words)


def _options(comparison: Comparison) -> Iterator[str]:
    key, cells = comparison.key, comparison.cells
    applicable = cells[cells["state"] != "not_applicable"]
    yield from ("--methods", _joined(applicable["method"]))
    yield from ("--pair", key.pair)
    yield from ("--preset", key.preset)
    yield from ("--protocol", key.protocol)
    yield from ("--hparams", key.hparams)
    yield from ("--data-variant", key.data_variant)
    yield from ("--seeds", _joined(cells["seed"].sort_values()))
    yield from ("--control", _joined(cells["control"].sort_values(key=lambda own: own != "none")))
    configurations = [manifest.get("configuration", {}) for manifest in cells["manifest"]]
    if any("agreement" in one.get("signals", ()) for one in configurations):
        yield "--agreement"
    for setting in filter(None, key.settings.split("; ")):
        yield from ("--set", setting)


def _joined(values: pd.Series) -> str:
    return ",".join(dict.fromkeys(map(str, values)))
