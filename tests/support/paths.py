"""Paths of files that tests read."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
GOLDEN = TESTS / "golden"
GOLDEN_RUNS = TESTS / "golden_runs"
HISTORIC = TESTS / "historic"
SAMPLES = ROOT.parent / "shared" / "samples"
"""Genuine sample images next to the project; tests that need them are skipped without them."""
