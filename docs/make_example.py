"""Run everything that README and the demonstration show, and write the committed files.

    python docs/make_example.py --work FOLDER [run] [example] [numbers] [pages]

`nox -s example` does it. `run` computes all results in FOLDER; it can be stopped and resumed, and
several processes may run it at the same time. `example` reduces the main run to `results/example`
and writes its report, `numbers` writes `docs/numbers`, `pages` writes the blocks of the pages. By
default all four run in this order. Numbers depend a little on the processor and on the number of
threads (`docs/numbers/threads.csv`), so `run` uses one thread.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_pages
import pandas as pd

from ttt_bench import open_results, write_report
from ttt_bench.report.figures.pictures import IMAGES
from ttt_bench.results import store
from ttt_bench.results.method_names import PAPERS
from ttt_bench.stats.step_rules import DELTA

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE, REPORT, NUMBERS = ROOT / "results/example", ROOT / "reports/example", ROOT / "docs/numbers"
LARGEST = 12_000_000
"""Bytes that `results/example` may have."""

PAIR = "rooms:rooms-mix"
SHIFTS = ("light", "sensor", "style", "layout", "camera", "nolight")
COLUMNS = (
    *("pair", "protocol", "label", "reference", "quantity"),
    *("mean", "sd", "low", "high", "p_holm", "seeds"),
)
RATES = ("actmad", "s4t")
"""Methods of the study of learning rates."""
FURTHER = ("eata", "sar", "cotta", "rotta", "memo")
"""Methods of the table of further methods; the last one adapts to one image at a time."""
FEW = "base,norm,tent,actmad,s4t"
"""Methods that are run again with two threads."""

SEEDS = ["run", "--pair", PAIR, "--seeds", "0,1,2"]
ALL = ["run", "--methods", "all", "--control", "none,frozen"]
RUNS: dict[str, list[list[str]]] = {
    "main": [[*ALL, "--pair", PAIR, "--seeds", "0,1,2", "--agreement"]],
    "more": [
        [*SEEDS, "--methods", "eata,sar,cotta,rotta", "--agreement"],
        [*SEEDS, "--methods", "base,norm,memo", "--protocol", "episodic", "--set", "batch=1"],
    ],
    "light": [[*ALL, "--pair", "rooms:rooms-light"]],
    "shifts": [
        ["run", "--methods", "base,norm", "--seeds", "0,1,2", "--pair", "rooms:rooms"]
        + [part for shift in SHIFTS for part in ("--pair", f"rooms:rooms-{shift}")]
    ],
    "rates": [["study", "rate", "--methods", ",".join(RATES), "--pair", PAIR, "--steps", "1,3,10"]],
}
"""Commands by the name of their results; all share one folder and so their source models."""
TRIALS = {
    "tune": ["tune", "--methods", "eata,sar,cotta,rotta"],
    "tune-memo": ["tune", "--methods", "memo", "--protocol", "episodic", "--set", "batch=1"],
}
"""Choices of learning rates by the folder of their results."""


def run(work: Path) -> None:
    """Compute all results.

    Those of one thread are in `work/all`, those of two in `work/threads`, and the choices of
    learning rates in folders of their own.
    """
    for name, command in TRIALS.items():
        _bench(command, work / name, threads=1)
    for commands in RUNS.values():
        for command in commands:
            _bench(command, work / "all", threads=1)
    _bench(["run", "--methods", FEW, "--pair", PAIR], work / "threads", threads=2)


def example(work: Path) -> None:
    """Reduce the main run to `results/example`, and write its report.

    Left out: checkpoints, host names, and example images of frozen controls, of seeds other than
    0, and all but the first ones.

    Raises:
        SystemExit: the folder is larger than `LARGEST`.
    """
    shutil.rmtree(EXAMPLE, ignore_errors=True)
    for folder, manifest in store.cells(work / "all"):
        signals = manifest["configuration"]["signals"]
        if manifest["pair"] == PAIR and manifest["method"] in PAPERS and "agreement" in signals:
            _reduce(folder, manifest)
    size = sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file())
    if size > LARGEST:
        sys.exit(f"{EXAMPLE} has {size:,} bytes, more than {LARGEST:,}")
    shutil.rmtree(REPORT, ignore_errors=True)
    os.chdir(ROOT)  # the page names the folder as a visitor of the repository does
    write_report(EXAMPLE.relative_to(ROOT), REPORT.relative_to(ROOT))


def numbers(work: Path) -> None:
    """Write the tables of `docs/numbers`."""
    results = open_results(work / "all")
    NUMBERS.mkdir(exist_ok=True)
    plain = replace(results, cells=results.cells[results.cells["settings"] == ""])
    light = plain.select(pairs="rooms:rooms-light", seeds=0)
    _write("light", light.estimates(), light.differences())
    pairs = [PAIR, "rooms:rooms", *(f"rooms:rooms-{shift}" for shift in SHIFTS)]
    shifts = plain.select(pairs=pairs, methods=["base", "norm"])
    _write("shifts", shifts.estimates(), shifts.differences())
    further = results.select(pairs=PAIR, methods=["base", "norm", *FURTHER])
    _write("more", further.estimates(), further.differences())
    _write_losses(further)
    _write_trials([work / name / "tuned.toml" for name in TRIALS])
    _write_threads(plain.select(pairs=PAIR, seeds=0), open_results(work / "threads"))
    _write_rates(results)


def pages(work: Path) -> None:
    """Write the generated blocks of README and the demonstration."""
    make_pages.main([])


def _bench(command: list[str], results: Path, threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    whole = [sys.executable, "-m", "ttt_bench.cli.main", *command, "--results", str(results)]
    print("$ ttt-bench", *command, flush=True)
    subprocess.run(whole, check=True, env=environment, stdout=subprocess.DEVNULL)


def _reduce(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a cell to `results/example`."""
    tables = {name: _table(folder, name) for name in store.TABLES}
    shown = manifest["seed"] == 0 and manifest["control"] == "none"
    own = {key: value for key, value in manifest.items() if key not in ("files", "digest")}
    attempts = store.read_attempts(folder)
    for attempt in attempts["attempts"]:
        attempt.pop("host", None)
        attempt.get("timed", {}).pop("host", None)
    target = store.cell_folder(EXAMPLE, manifest["pair"], manifest["method"], manifest["config"])
    store.write_cell(
        target,
        store.CellFiles(
            manifest=own,
            attempts=attempts,
            examples=_shown_examples(folder) if shown else None,
            **tables,
        ),
    )


def _shown_examples(folder: Path) -> dict[str, Any] | None:
    """Return the example images that pictures show; None without any."""
    examples = store.read_examples(folder)
    return {name: array[:IMAGES] for name, array in examples.items()} or None


def _table(folder: Path, name: str) -> pd.DataFrame | None:
    path = folder / f"{name}.parquet"
    return store.read_table(folder, name) if path.exists() else None


def _write(name: str, *frames: pd.DataFrame) -> None:
    """Write estimates and differences below each other; a difference names its reference."""
    found = pd.concat(frames, ignore_index=True)
    found[[*COLUMNS]].to_csv(NUMBERS / f"{name}.csv", index=False)


def _write_threads(one: Any, two: Any) -> None:
    """Write Delta_TTT at the last step with one and with two threads."""
    frames = {1: one.delta(per="seed"), 2: two.delta(per="seed")}
    columns = {n: frame.set_index("label")[DELTA] for n, frame in frames.items()}
    found = pd.DataFrame({f"threads_{n}": column for n, column in columns.items()}).dropna()
    found.loc[two.delta()["label"]].to_csv(NUMBERS / "threads.csv", index_label="label")


def _write_losses(results: Any) -> None:
    """Write each method's mean loss at its first and its last update, over batches and seeds."""
    cells = results.cells[results.cells["method"].isin(FURTHER)]
    losses = [
        _total_loss(Path(folder)).assign(method=method)
        for method, folder in zip(cells["method"], cells["folder"], strict=True)
    ]
    found = pd.concat(losses).groupby(["method", "update"])["value"].mean()
    found.unstack("update")[["first", "last"]].to_csv(NUMBERS / "more-losses.csv")


def _total_loss(folder: Path) -> pd.DataFrame:
    """Return the loss of every batch of a cell at its first and its last update."""
    table = store.read_table(folder, "losses")
    total = table.groupby(["batch", "step"], as_index=False)["value"].sum()
    updates = {0: "first", int(total["step"].max()): "last"}
    shown = total[total["step"].isin(updates)]
    return shown.assign(update=shown["step"].map(updates))


def _write_trials(tuned: Sequence[Path]) -> None:
    """Write the Delta_TTT of every trial of the choices of learning rates."""
    rows = []
    for path in tuned:
        for method, found in tomllib.loads(path.read_text())["methods"].items():
            rows += [{"method": method, **trial} for trial in found["trials"]]
    columns = ["method", "lr", "state", "delta_ttt"]
    pd.DataFrame(rows)[columns].to_csv(NUMBERS / "more-rates.csv", index=False)


def _write_rates(results: Any) -> None:
    """Write scores and Delta_TTT at the last step of every rate and number of steps, seed 0."""
    one = replace(results.select(pairs=PAIR, seeds=0), methods=RATES)
    (comparison,) = one.comparisons
    cells = comparison.cells[comparison.cells["control"] == "none"].set_index("label")
    optimiser = cells["manifest"].map(lambda manifest: manifest["optimiser"] or {})
    named = cells.assign(rate=optimiser.map(lambda own: own.get("lr")))[["method", "rate", "steps"]]
    found = one.estimates().join(named, on="label", how="inner")
    columns = ["method", "rate", "steps", "quantity", "mean"]
    found[columns].drop_duplicates().to_csv(NUMBERS / "rates.csv", index=False)


STAGES: dict[str, Callable[[Path], None]] = {
    "run": run,
    "example": example,
    "numbers": numbers,
    "pages": pages,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], help="by default all")
    parser.add_argument("--work", type=Path, required=True, help="folder of the complete results")
    given = parser.parse_args()
    for name in given.stages or STAGES:
        STAGES[name](given.work)


if __name__ == "__main__":
    main()
