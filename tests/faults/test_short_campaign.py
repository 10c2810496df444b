"""A short form of the fault campaign; `nox -s faults` runs the whole one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from support.paths import ROOT

from faults.campaign import SHORT


def test_the_short_campaign_finds_no_defect(tmp_path: Path) -> None:
    # in a process of its own: this one may have threads, with which forked children can hang
    out = tmp_path / "faults.csv"
    done = subprocess.run(
        [sys.executable, "-m", "faults", "--short", f"--out={out}", f"--folder={tmp_path}"],
        env={**os.environ, "PYTHONPATH": "tests", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = pd.read_csv(out).groupby("campaign")["count"].sum()
    assert counts["corruption: run"] == SHORT["corruptions"]
    assert counts["options"] == SHORT["options"]
    assert counts["weights"] == SHORT["weights"]
