"""Run the fault campaign; the exit code is 1 if there is a defect.

PYTHONPATH=tests python -m faults --seed 0 --out docs/numbers/faults.csv
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from faults.campaign import COUNTS, SHORT, SHORT_SWEEPS, SWEEPS, Campaign
from faults.outcome import DEFECT, Outcome, summary, table, write


def main() -> int:
    """Run the campaign of the command line."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=options.folder))
    counts, sweeps = (SHORT, SHORT_SWEEPS) if options.short else (COUNTS, SWEEPS)
    given = {name: getattr(options, name) for name in COUNTS}
    counts = counts | {name: count for name, count in given.items() if count is not None}
    outcomes: list[Outcome] = []
    try:
        outcomes.extend(_shown(Campaign(folder, options.seed, sweeps).run(counts)))
    finally:  # also when it is stopped, with the counts so far
        shutil.rmtree(folder, ignore_errors=True)
        if options.out:
            write(outcomes, options.out)
    print(summary(table(outcomes)))
    return int(any(outcome.outcome == DEFECT for outcome in outcomes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, count in COUNTS.items():
        text = f"number of faults; default: {count}, short: {SHORT[name]}"
        parser.add_argument(f"--{name}", type=int, help=text)
    parser.add_argument("--short", action="store_true", help="a form that takes seconds")
    parser.add_argument("--seed", type=int, default=0, help="seeds all draws; default: 0")
    parser.add_argument(
        "--folder", type=Path, default=_fast(), help="where to work; default: %(default)s"
    )
    parser.add_argument("--out", type=Path, help="CSV file for the counts; default: none")
    return parser.parse_args()


def _fast() -> Path | None:
    """Return a folder in memory, where flushing a file costs nothing; None if there is none."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


def _shown(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """Yield outcomes; print every defect at once, and the count now and then."""
    shown = time.monotonic()
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.outcome == DEFECT:
            print(f"DEFECT {outcome.campaign}, {outcome.fault}: {outcome.detail}", flush=True)
        if time.monotonic() - shown > 15:
            print(f"{number} outcomes, now {outcome.campaign}", flush=True)
            shown = time.monotonic()
        yield outcome


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
