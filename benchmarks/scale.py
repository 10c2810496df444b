"""Cost of large sweeps without their computing: planning, sharing and storing cells, and reading.

    python benchmarks/scale.py FOLDER [--cells 1000 3000 10000] [--workers 64] [--csv FILE]

A sweep of `base` and `norm` under three protocols with thousands of seeds runs through the real
plan, worker loop, store and readers. Only the measurement is replaced: every cell stores the tables
of one measured cell of the smallest preset. The workers are threads of one process, so the time per
cell is that of one core, whatever the number of workers. Cells in FOLDER are kept and used again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pandas as pd
from safetensors.torch import save_file

from ttt_bench import open_results, read_results
from ttt_bench.config.merging import make_request
from ttt_bench.config.preset import resolve_preset
from ttt_bench.model.architecture import build_model
from ttt_bench.results import store
from ttt_bench.sweep.plan import Sweep, plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.sweep.runner import Runner
from ttt_bench.sweep.shared.claiming import Ended, from_another_place, share
from ttt_bench.sweep.shared.states import Appeared, cell_states
from ttt_bench.sweep.shared.units import pending_units
from ttt_bench.util.claims import CLAIMS, Claims
from ttt_bench.util.hashing import harness_hash
from ttt_bench.util.progress import Silent

METHODS, PROTOCOLS = ("base", "norm"), ("online", "episodic", "single-batch")
CELLS = (1_000, 3_000, 10_000, 30_000, 100_000)
STEPS = ("plan", "run", "compact", "plan", "read", "open")
Found = dict[str, float]


def plan(results: Path, cells: int) -> Sweep:
    """Return the planned sweep."""
    seeds = -(-cells // (len(METHODS) * len(PROTOCOLS)))
    request = {
        "methods": METHODS,
        "protocol": PROTOCOLS,
        "seeds": tuple(range(seeds)),
        "preset": "smoke",
        "device": "cpu",
        "results": results,
        "source_weights": results.parent / "weights.safetensors",
    }
    return plan_sweep(resolve(make_request({}, request)), Silent())


def make_weights(path: Path) -> None:
    """Write the weights of an untrained network of the smallest preset."""
    tasks = {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}
    save_file(build_model(resolve_preset("smoke", {}).model, tasks).state_dict(), path)


def measure_plan(results: Path, cells: int, workers: int) -> Found:
    """Measure planning, with the state of every cell."""
    started = time.process_time()
    sweep = plan(results, cells)
    planned = time.process_time()
    states = Counter(cell_states(sweep.cells, results).values())
    seconds = {"cells, s": planned - started, "states, s": time.process_time() - planned}
    return {**seconds, "finished": states["done"]}


class NullRunner(Runner):
    """Stores the tables of the first cell for every cell."""

    first: Any = None

    def _measured(self, cell: Any, shards: Any) -> Any:
        if self.first is None:
            self.first = super()._measured(cell, shards)
        rows, identity = self.first.tables["rows"], cell.identity
        other = {name: value for name, value in identity.items() if rows[name].iloc[0] != value}
        rows = rows.assign(**other)  # what a real method does is not overhead
        tables = {**self.first.tables, "rows": rows, "examples": None}
        return replace(self.first, tables=tables)


def measure_run(results: Path, cells: int, workers: int) -> Found:
    """Measure claiming and storing cells in the loop of the workers, which are threads."""
    counts: Counter[str] = Counter()
    sweep = plan(results, cells)
    runner = NullRunner(sweep, Silent())
    store.check_writable(results)
    runner._prepare(sweep.cells[:1])
    runner._measured(sweep.cells[0], ())
    harness_hash()  # once per process
    ended = Ended(results=results, checkpoints=sweep.checkpoints, attempts={})

    class CountedClaims(Claims):
        def attempt(self, name: str) -> Any:
            counts["claims"] += 1
            return super().attempt(name)

    def state(unit: Any) -> str | None:
        counts["checks"] += 1
        return ended.state(unit)

    def work(number: int) -> int:
        units = from_another_place(pending_units(sweep.cells, sweep.checkpoints))
        claims = CountedClaims(results / CLAIMS)
        stored = Appeared(results).has
        begin.wait()
        found = share(units, claims, state, runner._compute, lambda text: None, stored=stored)
        return len(found.own)

    begin = Barrier(workers)  # none has stored cells while others still plan
    started, clock = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        own = sum(pool.map(work, range(workers)))
    number = len(sweep.cells)
    return {
        "overhead per cell, ms": 1000 * (time.process_time() - started) / number,
        "overhead per cell by the clock, ms": 1000 * (time.perf_counter() - clock) / number,
        "claims per cell": counts["claims"] / number,
        "state checks per cell": counts["checks"] / number,
        "computed": own,
    }


def measure_read(results: Path, cells: int, workers: int) -> Found:
    """Measure reading the rows."""
    started, clock = time.process_time(), time.perf_counter()
    rows = read_results(results)
    seconds = time.process_time() - started
    return {"cpu, s": seconds, "clock, s": time.perf_counter() - clock, "rows": len(rows)}


def measure_open(results: Path, cells: int, workers: int) -> Found:
    """Measure opening the results for statistics."""
    started = time.process_time()
    comparisons = open_results(results).comparisons
    return {"cpu, s": time.process_time() - started, "comparisons": len(comparisons)}


MEASUREMENTS = {
    "plan": measure_plan,
    "run": measure_run,
    "compact": measure_read,
    "read": measure_read,
    "open": measure_open,
}


def measured(step: str, results: Path, cells: int, workers: int) -> Found:
    """Return the measurement of a fresh process."""
    command = [sys.executable, __file__, "--measure", step, str(results), str(cells), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mib() -> float:
    """Return the largest resident size of this program so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) / 1024


def measured_size(folder: Path, cells: int, workers: int) -> list[dict[str, Any]]:
    """Measure one size, and return one row per number."""
    rows = []
    for step in STEPS:
        found = measured(step, folder / f"cells-{cells}", cells, workers)
        print(cells, step, {name: round(value, 3) for name, value in found.items()}, flush=True)
        about = {"cells": cells, "workers": workers, "step": step}
        rows += [about | {"quantity": name, "value": value} for name, value in found.items()]
    return rows


def main() -> None:
    """Measure every size and write a table."""
    if sys.argv[1:2] == ["--measure"]:
        step, results, cells, workers = sys.argv[2:]
        found = MEASUREMENTS[step](Path(results), int(cells), int(workers))
        print(json.dumps({**found, "peak, MiB": peak_mib()}))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, nargs="+", default=CELLS)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if not (given.folder / "weights.safetensors").exists():
        make_weights(given.folder / "weights.safetensors")
    rows: list[dict[str, Any]] = []
    for cells in given.cells:
        rows += measured_size(given.folder, cells, given.workers)
        if given.csv is not None:  # what is measured is kept if a larger size is stopped
            pd.DataFrame(rows).round(3).to_csv(given.csv, index=False)


if __name__ == "__main__":
    main()
