"""Take the disk away: full, read-only, or with folders deleted while a run uses them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faults.command import Command, start
from faults.outcome import DEFECT, SAME, Outcome, judge
from faults.sweeps import Calm, Place, differing, left_over, save_always

CAMPAIGN = "disk"
_LARGE = "size=256m"
_RETRIES = 100


def can_mount() -> bool:
    """Return whether this process may mount a tmpfs."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    probe = Path(os.environ.get("TMPDIR", "/tmp")) / f"faults-mount-{os.getpid()}"
    probe.mkdir()
    try:
        with mounted(probe, "size=64k"):
            return True
    except subprocess.CalledProcessError:
        return False
    finally:
        probe.rmdir()


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a tmpfs for the block."""
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def campaign(calms: list[Calm], count: int, draw: random.Random, root: Path) -> Iterator[Outcome]:
    """Take the disk away `count` times, run, give it back, and complete the run."""
    names = sorted(FAULTS) if can_mount() else ["deleted folder"]
    for number in range(count):
        calm, name = draw.choice(calms), names[number % len(names)]
        place = Place(root / f"disk-{number}")
        place.root.mkdir()
        with _tmpfs(place.root, wanted=can_mount()):
            if draw.random() < 0.6:  # else images are rendered on this disk
                shutil.copytree(calm.place.cache, place.cache)
            yield from _disturbed(calm, place, name, draw)
        place.remove()


@contextmanager
def _tmpfs(folder: Path, *, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with mounted(folder, _LARGE):
        yield


def _disturbed(calm: Calm, place: Place, name: str, draw: random.Random) -> Iterator[Outcome]:
    """Disturb one run, then remove the disturbance and run again."""
    environment = place.environment
    run = start(*calm.sweep.command(place), environment=environment, hook=save_always)
    time.sleep(draw.uniform(0, calm.seconds))
    repair = FAULTS[name](place, draw)
    yield _judged(run, calm, place, name)
    repair()
    again = calm.sweep.run(place)
    wrong = differing(place.results, calm.content)
    outcome, detail = judge(again, same=not wrong)
    left = left_over(place)
    if outcome != SAME or left:
        outcome, detail = DEFECT, f"{wrong} {left} {detail} {again.text[-800:]}"
    fault = f"run after: {name}"
    yield Outcome(campaign=CAMPAIGN, fault=fault, outcome=outcome, detail=detail)


def _judged(run: Command, calm: Calm, place: Place, name: str) -> Outcome:
    ended = run.wait()
    whole = not differing(place.results, calm.content) if place.results.exists() else False
    # a folder that is deleted after the last look at it cannot be missed by the run
    unseen = name == "deleted folder" and ended.code == 0
    outcome, detail = judge(ended, same=whole or unseen)
    return Outcome(campaign=CAMPAIGN, fault=name, outcome=outcome, detail=detail)


def _full(place: Place, draw: random.Random) -> Callable[[], object]:
    """Fill the disk."""
    filler = place.root / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return filler.unlink


def _small(place: Place, draw: random.Random) -> Callable[[], object]:
    """Shrink the disk to what is used and a little more."""
    used = shutil.disk_usage(place.root).used
    free = draw.choice([4096, 16384, 65536, 262144, 1 << 20])
    with suppress(subprocess.CalledProcessError):
        _mount("-o", f"remount,size={used + free}", str(place.root))
    return lambda: _mount("-o", f"remount,{_LARGE}", str(place.root))


def _read_only(place: Place, draw: random.Random) -> Callable[[], object]:
    """Mount the disk read-only; that is refused while a file is open for writing."""
    for _ in range(_RETRIES):
        with suppress(subprocess.CalledProcessError):
            _mount("-o", "remount,ro", str(place.root))
            break
        time.sleep(0.005)
    return lambda: _mount("-o", "remount,rw", str(place.root))


def _deleted(place: Place, draw: random.Random) -> Callable[[], object]:
    """Delete a folder that the run uses."""
    names = [".", "cells", "checkpoints", ".claims"]
    folder = draw.choice([place.cache, *(place.results / name for name in names)])
    shutil.rmtree(folder, ignore_errors=True)
    return lambda: None


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


FAULTS: dict[str, Callable[[Place, random.Random], Callable[[], object]]] = {
    "full disk": _full,
    "small disk": _small,
    "read-only disk": _read_only,
    "deleted folder": _deleted,
}
"""Name -> function that disturbs a place and returns a function that repairs it."""
