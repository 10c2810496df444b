"""Damage one stored file at a time, then make the report and run again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.command import POLL_SECONDS, Ended, call, start
from faults.damages import COPY, DAMAGES
from faults.outcome import DEFECT, MESSAGE, SAME, Outcome, judge
from faults.sweeps import Calm, Place, differing, save_always

CAMPAIGN = "corruption"
_MOST_TRIES = 100
_REPORTED = 0.4
"""Share of damaged cells of which a report is made, too, which takes longer than a run."""


@dataclass(frozen=True)
class Kind:
    """A kind of stored file.

    Attributes:
        name: for the table.
        patterns: of its files below a place.
        recompute: folders that are removed after the damage, so that a run reads the files.
    """

    name: str
    patterns: Sequence[str]
    recompute: Sequence[str] = ()

    def files(self, place: Place) -> list[Path]:
        """Return the files of this kind that are not empty."""
        found = [path for pattern in self.patterns for path in place.root.glob(pattern)]
        return sorted(path for path in found if path.is_file() and path.stat().st_size)


_CELL = "results/cells/*/*"
KINDS = (
    Kind("manifest.json", [f"{_CELL}/manifest.json"]),
    Kind("attempts.json", [f"{_CELL}/attempts.json"]),
    Kind("rows.parquet", [f"{_CELL}/rows.parquet"]),
    Kind("other tables", [f"{_CELL}/[!r]*.parquet"]),
    Kind("examples.npz", [f"{_CELL}/examples.npz"]),
    Kind("checkpoint", ["results/checkpoints/[!.]*.safetensors"], ["results/cells"]),
    Kind("checkpoint's JSON", ["results/checkpoints/*.json"], ["results/cells"]),
    Kind("unfinished work", ["results/**/*.partial.safetensors"]),
    Kind("claim", ["results/**/.claims/*"]),
    Kind("rendered images", ["cache/**/*.npy", "cache/**/*.json"], ["results/cells"]),
)


def campaign(calms: list[Calm], count: int, draw: random.Random, root: Path) -> Iterator[Outcome]:
    """Damage `count` files, as many of each kind."""
    calms = calms[1:3] or calms  # small ones, with source models and source statistics of methods
    unfinished = [
        _interrupted(calm, root / f"unfinished-{n}", draw) for n, calm in enumerate(calms)
    ]
    tables = [_report(calm.place, root / f"calm-report-{n}")[1] for n, calm in enumerate(calms)]
    for number in range(count):
        which, kind = draw.randrange(len(calms)), KINDS[number % len(KINDS)]
        calm = calms[which]
        running = kind.name in ("unfinished work", "claim")
        original = unfinished[which] if running else calm.place
        place = Place(root / f"damaged-{number}").copy_from(original)
        files = kind.files(place)
        if not files:
            raise RuntimeError(f"no {kind.name} in {original.root}")
        path, name = draw.choice(files), draw.choice(sorted(DAMAGES))
        DAMAGES[name](path, draw)
        if kind.name == "claim" and os.path.lexists(path):
            os.utime(path, (0, 0), follow_symlinks=False)  # else a run waits for minutes
        fault = f"{kind.name}: {name}"
        if kind.recompute:
            for folder in kind.recompute:
                shutil.rmtree(place.root / folder)
        elif not running and draw.random() < _REPORTED:
            yield _reported(place, root / "report", tables[which], path, fault)
        yield _repaired(calm, place, path, fault)
        place.remove()


def _interrupted(calm: Calm, root: Path, draw: random.Random) -> Place:
    """Return a place with unfinished work of a killed run, and its claims."""
    place = Place(root)
    shutil.copytree(calm.place.cache, place.cache)
    for _ in range(_MOST_TRIES):
        run = start(*calm.sweep.command(place), environment=place.environment, hook=save_always)
        wanted = Kind("", ["results/**/*.partial.safetensors"])
        while run.poll() is None and not wanted.files(place):
            time.sleep(POLL_SECONDS)
        run.send_if_running(signal.SIGKILL)
        run.wait()
        if wanted.files(place) and Kind("", ["results/**/.claims/*"]).files(place):
            return place
        shutil.rmtree(place.results, ignore_errors=True)
    raise RuntimeError(f"no unfinished work was found in {place.root}")


def _report(place: Place, out: Path) -> tuple[Ended, dict[str, bytes]]:
    """Write a report; return the command and its main tables."""
    shutil.rmtree(out, ignore_errors=True)
    ended = call("report", f"--results={place.results}", f"--out={out}", hook=_no_figures)
    return ended, {path.parent.name: path.read_bytes() for path in out.rglob("main.csv")}


def _no_figures() -> None:
    """Leave the figures out, which take most of the time of a report (a `Hook`)."""
    from ttt_bench.report.figures import drawing

    drawing.laid_out = lambda shown: shown
    drawing.png = lambda shown, dpi=300: b"png"
    drawing.svg = lambda shown: b'<svg viewBox="0 0 1 1"/>'
    drawing.pdf = lambda shown: b"pdf"


def _reported(place: Place, out: Path, tables: dict[str, bytes], path: Path, fault: str) -> Outcome:
    ended, found = _report(place, out)
    named = _named(ended, path)
    outcome, detail = judge(ended, same=found == tables or named)
    if outcome == SAME and named:
        outcome = MESSAGE
    return Outcome(
        campaign=f"{CAMPAIGN}: report", fault=fault, outcome=outcome, detail=f"{path} {detail}"
    )


def _repaired(calm: Calm, place: Place, path: Path, fault: str) -> Outcome:
    """Run again; the run must repair everything, and name what it repairs."""
    ended = calm.sweep.run(place)
    found = differing(place.results, calm.content)
    wrong = [one for one in found if not Path(one).name.startswith(COPY)]  # no run reads such files
    alone = [str(place.results / one) for one in wrong] == [str(path)]
    unread = alone and _verified(place, path)
    outcome, detail = judge(ended, same=not wrong or unread)
    if outcome == MESSAGE and not _named(ended, path):
        outcome, detail = DEFECT, f"the file is not named: {ended.text[-800:]}"
    elif outcome == SAME and unread:
        fault = f"{fault} (not read by the run; named by `results verify`)"
    elif outcome == SAME and _named(ended, path):
        fault = f"{fault} (named)"
    return Outcome(
        campaign=f"{CAMPAIGN}: run", fault=fault, outcome=outcome, detail=f"{path} {wrong} {detail}"
    )


def _verified(place: Place, path: Path) -> bool:
    """Return whether `results verify` names a damaged file, such as one that no run reads."""
    return _named(call("results", "verify", str(place.results)), path)


def _named(ended: Ended, path: Path) -> bool:
    """Return whether the output names a file or its folder; long lines are wrapped anywhere."""
    text = "".join(ended.text.split())
    return any("".join(str(one).split()) in text for one in (path, path.parent))
