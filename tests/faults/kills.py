"""Kill runs at random moments: by time, or at a random operation on a file."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faults.command import Command, Ended, start
from faults.outcome import DEFECT, STOPPED, Outcome, judge
from faults.sweeps import Calm, Place, differing, left_over, save_always
from faults.workers import children, forked_workers, outlive

CAMPAIGN = "kill"
_POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.utime", "os.rmdir"})
_INTERRUPTED = 130
_OUTLIVE_SECONDS = 60.0
_MOST_EVENTS = 400
"""About as many operations on files as a tiny sweep makes."""


def campaign(calms: list[Calm], kills: int, draw: random.Random, root: Path) -> Iterator[Outcome]:
    """Kill runs until `kills` have been killed; every round ends with a complete run."""
    done, number = 0, 0
    while done < kills:
        place = Place(root / f"kill-{number}")
        calm, number = draw.choice(calms), number + 1
        if draw.random() < 0.7:  # else images are rendered, too
            _copy_cache(calm.place, place)
        for outcome in _round(calm, place, min(kills - done, draw.randint(3, 8)), draw):
            done += outcome.outcome == STOPPED
            yield outcome
        place.remove()


def _copy_cache(calm: Place, place: Place) -> None:
    shutil.copytree(calm.cache, place.cache)


def _round(calm: Calm, place: Place, kills: int, draw: random.Random) -> Iterator[Outcome]:
    """Kill runs of one sweep, then complete it and compare."""
    place.root.mkdir(exist_ok=True)
    for _ in range(kills):
        kill = draw.choice(KILLS)
        found = list(kill(calm, place, draw))
        yield from found
        if not any(outcome.outcome == STOPPED for outcome in found):
            break  # everything was done before the moment came
    ended = calm.sweep.run(place)
    wrong = differing(place.results, calm.content)
    outcome, detail = judge(ended, same=not wrong)
    left = left_over(place)
    if left and outcome != DEFECT:
        outcome, detail = DEFECT, f"left over: {left}"
    yield Outcome(
        campaign=CAMPAIGN, fault="resumed run", outcome=outcome, detail=f"{wrong}{detail}"
    )


def _killed_equal(calm: Calm, place: Place, draw: random.Random) -> Iterator[Outcome]:
    """Start one to four equal runs, and kill one of them."""
    count, by_file, number = draw.choice([1, 1, 2, 3, 4]), draw.random() < 0.5, _signal(draw)
    first = _hook(draw.randint(1, _MOST_EVENTS), number) if by_file else save_always
    runs = [
        start(*calm.sweep.command(place), environment=place.environment, hook=hook)
        for hook in (first, *[save_always] * (count - 1))
    ]
    if not by_file:
        time.sleep(draw.uniform(0, calm.seconds))
        _send(runs[0].pid, number)
    moment = "a file operation" if by_file else "a random time"
    fault = f"{number.name} at {moment}, {count} equal runs"
    yield _judged(runs[0].wait(), fault, stopped_is_fine=True)
    for run in runs[1:]:
        yield _judged(run.wait(), "run next to a killed one", stopped_is_fine=False)


def _killed_workers(calm: Calm, place: Place, draw: random.Random) -> Iterator[Outcome]:
    """Start a run with two to four workers, and kill the run; its workers must end."""
    count, number = draw.randint(2, 4), _signal(draw)
    run = _start_with_workers(calm, place, count)
    time.sleep(draw.uniform(0, 1.5 * calm.seconds))
    workers = children(run.pid)
    _send(run.pid, number)
    fault = f"{number.name}, run with {count} workers"
    yield _judged(run.wait(), fault, stopped_is_fine=True)
    if left := outlive(workers, _OUTLIVE_SECONDS):
        detail = f"{len(left)} workers outlive their run"
        yield Outcome(campaign=CAMPAIGN, fault=fault, outcome=DEFECT, detail=detail)


def _killed_worker(calm: Calm, place: Place, draw: random.Random) -> Iterator[Outcome]:
    """Start a run with two to four workers, and kill a worker; the run must be completed."""
    count = draw.randint(2, 4)
    run = _start_with_workers(calm, place, count)
    time.sleep(draw.uniform(0, 1.5 * calm.seconds))
    killed = any(_send(pid, signal.SIGKILL) for pid in children(run.pid)[:1])
    ended = run.wait()
    if killed:
        fault = f"SIGKILL, one of {count} workers"
        yield Outcome(campaign=CAMPAIGN, fault=fault, outcome=STOPPED)
    yield _judged(ended, "run of a killed worker", stopped_is_fine=False)


def _start_with_workers(calm: Calm, place: Place, count: int) -> Command:
    command = calm.sweep.command(place, f"--workers={count}")
    return start(*command, environment=place.environment, hook=forked_workers)


def _signal(draw: random.Random) -> signal.Signals:
    return signal.SIGKILL if draw.random() < 0.7 else draw.choice(_POLITE)


def _send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; return False if the process has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _judged(ended: Ended, fault: str, *, stopped_is_fine: bool) -> Outcome:
    """Judge a run; if it was done before the signal came, the fault is another one."""
    polite = ended.code == _INTERRUPTED and "interrupted" in ended.text
    stopped = ended.code == -signal.SIGKILL or polite
    clean = not ended.hung and "Traceback" not in ended.text
    if stopped_is_fine and stopped and clean:
        return Outcome(campaign=CAMPAIGN, fault=fault, outcome=STOPPED)
    outcome, detail = judge(ended, same=True)
    if stopped_is_fine:
        fault = "run that ended before the signal"
    return Outcome(campaign=CAMPAIGN, fault=fault, outcome=outcome, detail=detail)


def _hook(count: int, number: signal.Signals) -> Callable[[], None]:
    """Return a hook by which a process sends itself a signal at its n-th operation on a file."""

    def hook() -> None:
        save_always()
        left = count

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in _EVENTS and _is_ours(arguments):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), number)

        sys.addaudithook(audit)

    return hook


def _is_ours(arguments: tuple[Any, ...]) -> bool:
    """Return whether an operation is on a file of a results folder or a cache."""
    text = str(arguments[0]) if arguments else ""
    return "/results" in text or "/cache" in text


KILLS = (_killed_equal, _killed_equal, _killed_workers, _killed_worker)
"""Ways to kill, as often as they are drawn."""
