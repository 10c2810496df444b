"""Time and peak memory of opening and reporting a results folder: the example, and 10,000 cells.

Each measurement runs in a separate process with two threads at most. The generated folder (10
pairs, 20 rows, 50 seeds, 10 steps, 16 images) takes minutes and 450 MB; set TTT_BENCH_GENERATED to
a folder to keep it there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.generated import generate
from support.paths import ROOT

PROGRAM = """
import sys
from ttt_bench import open_results, write_report

what, results, out = sys.argv[1:]
if what == "open":
    open_results(results).comparisons
else:
    write_report(results, out)
# of this program alone: getrusage would include the process that started it
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


def _peak(what: str, results: Path, out: Path) -> int:
    """Run one command in a process and return its peak resident size in KiB."""
    command = [sys.executable, "-c", PROGRAM, what, str(results), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout.split()[-1])


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the results folders by name; the large one is generated once."""
    kept = os.environ.get("TTT_BENCH_GENERATED")
    large = Path(kept) if kept else tmp_path_factory.mktemp("large") / "results"
    if not large.exists():
        generate(large, pairs=[f"made:pair{number}" for number in range(10)], seeds=50)
    return {"example": ROOT / "results" / "example", "large": large}


@pytest.mark.parametrize("name", ["example", "large"])
@pytest.mark.parametrize("what", ["open", "report"])
def test_report(
    benchmark: BenchmarkFixture, folders: dict[str, Path], tmp_path: Path, what: str, name: str
) -> None:
    peak = benchmark.pedantic(_peak, args=(what, folders[name], tmp_path / "out"), rounds=1)
    page = tmp_path / "out" / "index.html"
    benchmark.extra_info |= {
        "cells": len(list(folders[name].glob("cells/*/*/manifest.json"))),
        "peak_mib": peak // 1024,
        "page_mb": round(page.stat().st_size / 1e6, 1) if page.exists() else 0,
    }
    print(f"\n{what}, {name}: {benchmark.stats.stats.median:.1f} s; {benchmark.extra_info}")
