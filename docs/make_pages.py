"""Write the generated blocks of README and the demonstration from committed files alone.

    python docs/make_pages.py [--check]

A block is the text between `<!-- NAME -->` and `<!-- end -->`. `--check` changes nothing and
ends with exit code 1 if a block differs from its files.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from ttt_bench import Results, open_results
from ttt_bench.analysis.verdicts import BETTER, WORSE, verdicts
from ttt_bench.metrics.base import Metric, metrics_of
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.results.schema import ROW_COLUMNS
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.tasks import PAPER_TASKS, TASKS

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    *(ROOT / "README.md", ROOT / "docs/demonstration.md", ROOT / "results/README.md"),
    *(ROOT / "docs/faults.md", ROOT / "docs/more-methods.md"),
)
BLOCK = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
OUTCOMES = (
    *("same values", "one clear line", "recorded failure", "accepted", "stopped"),
    "DEFECT",
)
"""Outcomes of the fault campaign, in the order of columns."""
DECIMALS = {"semseg": 1, "depth": 3, "normals": 1, "edge": 4, DELTA: 1}
HEADS = {
    "semseg": "mIoU %",
    "depth": "depth RMSE",
    "normals": "normals mErr °",
    "edge": "edge RMSE",
}
ROOM = 0.02
"""Points of Delta_TTT within which the largest rate is chosen, as the preset `quick` states."""
SHIFTS = ("", "-light", "-sensor", "-style", "-layout", "-camera", "-nolight", "-mix")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args(arguments)
    stale = []
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(page.name)
            if not given.check:
                page.write_text(new, encoding="utf-8")
    if stale and given.check:
        sys.exit(f"{', '.join(stale)} differ from the files; run `python docs/make_pages.py`")


def filled(text: str) -> str:
    """Return a page with the content of its blocks.

    Raises:
        KeyError: a block has an unknown name.
    """
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


@cache
def example() -> Results:
    """Return the committed results."""
    return open_results(ROOT / "results/example")


def numbers(name: str) -> pd.DataFrame:
    """Return a committed table of other runs."""
    return pd.read_csv(ROOT / "docs/numbers" / f"{name}.csv")


def smallest_run() -> str:
    """Return the table that the smallest run prints, shortened, as a block of code."""
    table = example().select(seeds=0).scores().set_index("label")
    plain = table[~table.index.str.contains("(", regex=False)]
    lines = [
        f"{'method':<12}"
        + "".join(f"{HEADS[task]:>16}" for task in PAPER_TASKS)
        + f"{'Delta_TTT %':>14}"
    ]
    for label, row in plain.iterrows():
        cells = "".join(f"{row[task]:>16.{_more(task)}f}" for task in PAPER_TASKS)
        lines.append(f"{_name(label):<12}{cells}{row[DELTA]:>14.2f}")
    return "\n".join(["```text", *lines, "```"])


def scores() -> str:
    """Return the table of scores and differences at the last step."""
    frame = example().estimates()
    return _scores(frame, example().differences())


def light() -> str:
    """Return the same table for the mild shift."""
    found = numbers("light")
    return _scores(found[found["reference"].isna()], found[found["reference"].notna()])


def verdict_table() -> str:
    """Return what is shown of each method, against Base, `norm` and its frozen control."""
    found = example().differences()
    found = found[found["quantity"] == DELTA].assign(verdict=verdicts(found))
    rows = []
    for label in _plain(found["label"]):
        own = found[found["label"] == label].set_index("reference")
        rows.append([_name(label), *(_verdict(own, name) for name in ("base", "norm", "frozen"))])
    heads = ["method", "against Base", "against Norm", "its updates (against frozen)"]
    return _table(heads, rows)


def conclusions() -> str:
    """Return which methods are shown to differ from `norm` and from their frozen controls."""
    found = example().differences()
    found = found[found["quantity"] == DELTA].assign(verdict=verdicts(found))
    found = found[found["label"].isin(_plain(found["label"])) & (found["label"] != "base")]
    lines = []
    for reference, words in (("norm", "Norm"), ("frozen", "the method's own frozen control")):
        own = found[found["reference"] == reference]
        lines += [
            f"- Shown to be better than {words}: {_names(own, BETTER)}.",
            f"- Shown to be worse than {words}: {_names(own, WORSE)}.",
        ]
    return "\n".join(lines)


def attribution() -> str:
    """Return Delta_TTT of each method as the sum of its parts."""
    found = example().attribution()
    found = found[found["quantity"] == DELTA]
    parts = [*(part for part in dict.fromkeys(found["part"]) if part != "total"), "total"]
    rows = []
    for label in _plain(found["label"]):
        own = found[found["label"] == label].set_index("part")
        rows.append([_name(label), *(_cell(own, part) for part in parts)])
    heads = ["method", *(part.replace("_", " ") for part in parts[:-1]), "Delta_TTT"]
    return _table(heads, rows)


def shifts() -> str:
    """Return Base's scores on each shift, and what `norm` gains there."""
    found = numbers("shifts")
    rows = []
    for shift in SHIFTS:
        own = found[found["pair"] == f"rooms:rooms{shift}"]
        own = own[own["reference"].isna()].set_index(["label", "quantity"])
        base, norm = own.loc["base"], own.loc["norm"]
        cells = [_mean(base, task) for task in PAPER_TASKS]
        rows.append([f"`rooms{shift}`", *cells, _interval(norm.loc[DELTA])])
    return _table(["target", *HEADS.values(), "Norm: Delta_TTT"], rows)


def threads() -> str:
    """Return Delta_TTT of one seed with one and with two threads, and the largest difference."""
    found = numbers("threads")
    rows = [
        [_name(row.label), f"{row.threads_1:+.2f}", f"{row.threads_2:+.2f}"]
        for row in found[found["label"] != "base"].itertuples()
    ]
    gap = (found["threads_1"] - found["threads_2"]).abs()
    largest = found.loc[gap.idxmax(), "label"]
    table = _table(["method", "one thread", "two threads"], rows)
    return f"{table}\n\nThe largest difference is {gap.max():.2f} points ({_name(largest)})."


def rates() -> str:
    """Return, per method, the best rate of each task, and Delta_TTT over the rates."""
    found = numbers("rates")
    last = found[found["steps"] == found["steps"].max()].dropna(subset="rate")
    rows = []
    for method, own in last.groupby("method", sort=False):
        best = own[own["quantity"] == DELTA].set_index("rate")["mean"].idxmax()
        rows.append(
            [_name(method), f"{best:.0e}", *(_best_rate(own, task) for task in PAPER_TASKS)]
        )
    return _table(["method", "best rate for Delta_TTT", *PAPER_TASKS], rows)


def version() -> str:
    """Return the versions that the example was computed with."""
    found = {m["provenance"]["versions"]["ttt-bench"] for m in example().cells["manifest"]}
    harness = {m["provenance"]["harness"] for m in example().cells["manifest"]}
    return f"ttt-bench {', '.join(sorted(found))}, code {', '.join(sorted(harness))}."


def more() -> str:
    """Return the table of scores and differences of the further methods at the last step."""
    found = numbers("more")
    tables = []
    for protocol, own in found.groupby("protocol", sort=False):
        table = _scores(own[own["reference"].isna()], own[own["reference"].notna()])
        tables.append(f"{str(protocol).capitalize()}:\n\n{table}")
    return "\n\n".join(tables)


def more_losses() -> str:
    """Return the mean loss of the further methods at the first and at the last update."""
    rows = [
        [_name(row.method), f"{row.first:.4g}", f"{row.last:.4g}"]
        for row in numbers("more-losses").itertuples()
    ]
    return _table(["method", "loss at the first update", "at the last update"], rows)


def more_rates() -> str:
    """Return what the choice of learning rates of the further methods is made from."""
    rows = []
    for method, own in numbers("more-rates").groupby("method", sort=False):
        deltas = own.set_index("lr")["delta_ttt"]
        chosen = deltas[deltas >= deltas.max() - ROOM].index.max()
        rates = (deltas.index.min(), deltas.idxmax(), chosen, deltas.index.max())
        rows.append([_name(method), *(_trial(deltas, rate) for rate in rates)])
    heads = ["smallest rate", "best rate", "largest within 0.02 of it", "largest rate"]
    return _table(["method", *heads], rows)


def faults() -> str:
    """Return the number of each outcome per part of the fault campaign."""
    counts = numbers("faults").pivot_table(
        index="campaign", columns="outcome", values="count", aggfunc="sum", fill_value=0
    )
    shown = [outcome for outcome in OUTCOMES if outcome in counts or outcome == "DEFECT"]
    counts = counts.reindex(columns=shown, fill_value=0)
    rows = [[name, *map(str, row)] for name, row in zip(counts.index, counts.values, strict=True)]
    return _table(["part", *shown], rows)


def columns() -> str:
    """Return the columns of the rows, from the schema."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in ROW_COLUMNS.items()]
    return "\n".join(["| column | meaning |", "|---|---|", *rows])


def metrics() -> str:
    """Return every metric with its definition."""
    rows = [_metric_row(metric) for task in TASKS for metric in metrics_of(task).metrics]
    head = ["| task | metric | unit | better | definition |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _metric_row(metric: Metric) -> str:
    name = f"`{metric.name}`" + (", one row per `class`" if metric.per_class else "")
    unit = metric.unit or ("the target" if metric.primary else "none")
    better = "higher" if metric.higher_is_better else "lower"
    return f"| `{metric.task}` | {name} | {unit} | {better} | {metric.about} |"


BLOCKS: dict[str, Callable[[], str]] = {
    "smallest-run": smallest_run,
    "scores": scores,
    "light": light,
    "verdicts": verdict_table,
    "conclusions": conclusions,
    "attribution": attribution,
    "shifts": shifts,
    "threads": threads,
    "rates": rates,
    "version": version,
    "faults": faults,
    "more": more,
    "more-losses": more_losses,
    "more-rates": more_rates,
    "columns": columns,
    "metrics": metrics,
}


def _scores(estimates: pd.DataFrame, differences: pd.DataFrame) -> str:
    delta = differences[differences["quantity"] == DELTA]
    rows = []
    for label in _plain(estimates["label"]):
        own = estimates[estimates["label"] == label].set_index("quantity")
        against = delta[delta["label"] == label].set_index("reference")
        cells = [_mean(own, task) for task in PAPER_TASKS]
        cells += [_interval(own.loc[DELTA]), _cell(against, "norm"), _cell(against, "frozen")]
        rows.append([_name(label), *cells])
    return _table(["method", *HEADS.values(), "Delta_TTT %", "− Norm", "− frozen"], rows)


def _verdict(own: pd.DataFrame, reference: str) -> str:
    if reference not in own.index:
        return "–"
    row = own.loc[reference]
    words = {BETTER: "better", WORSE: "worse"}.get(row["verdict"], "not shown")
    return f"{words}: {_interval(row)}"


def _cell(frame: pd.DataFrame, name: str) -> str:
    return _interval(frame.loc[name]) if name in frame.index else "–"


def _names(found: pd.DataFrame, verdict: int) -> str:
    return PROPER_NAMES.listed(found.loc[found["verdict"] == verdict, "label"]) or "none"


def _name(label: object) -> str:
    """Return the printed name of a row."""
    return PROPER_NAMES.of(str(label))


def _plain(labels: Iterable[str]) -> list[str]:
    """Return the labels of methods with their plain settings and without a control."""
    return [label for label in dict.fromkeys(labels) if "(" not in label]


def _mean(frame: pd.DataFrame, quantity: str) -> str:
    row, digits = frame.loc[quantity], DECIMALS[quantity]
    spread = "" if pd.isna(row["sd"]) else f" ± {row['sd']:.{digits}f}"
    return f"{row['mean']:.{digits}f}{spread}"


def _interval(row: pd.Series) -> str:
    """Return a change in percent or points with its interval."""
    if row["mean"] == 0 and not row["sd"] > 0:
        return "0"
    mean = _signed(row["mean"])
    if pd.isna(row["low"]):
        return mean
    return f"{mean} [{_rounded(row['low'])}, {_rounded(row['high'])}]"


def _rounded(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00")


def _signed(value: float) -> str:
    text = _rounded(value)
    return text if text.startswith("-") or text == "0.00" else f"+{text}"


def _trial(deltas: pd.Series, rate: float) -> str:
    """Return a rate with its Delta_TTT."""
    value = deltas[rate]
    return f"{rate:.3g}: {'diverged' if pd.isna(value) else _rounded(value)}"


def _more(task: str) -> int:
    return {"semseg": 2, "normals": 2}.get(task, 4)


def _best_rate(own: pd.DataFrame, task: str) -> str:
    column = own[own["quantity"] == task].set_index("rate")["mean"]
    best = column.idxmin() if metrics_of(task).lower_is_better else column.idxmax()
    return f"{best:.0e} ({column[best]:.{_more(task)}f})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
