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

from faults.command import Command, start
from faults.outcome import DEFECT, STOPPED, Outcome, judge
from faults.sweeps import Calm, Place, differing, left_over, save_always

CAMPAIGN = "kill"
_POLITE = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.utime", "os.rmdir"})
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
        found = list(_killed_once(calm, place, draw))
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


def _killed_once(calm: Calm, place: Place, draw: random.Random) -> Iterator[Outcome]:
    """Start one to four equal runs, and kill one of them or all."""
    processes = draw.choice([1, 1, 2, 3, 4])
    by_file = draw.random() < 0.5
    number = signal.SIGKILL if draw.random() < 0.7 else draw.choice(_POLITE)
    hooks = [_hook(draw.randint(1, _MOST_EVENTS), number) if by_file else save_always]
    hooks += [save_always] * (processes - 1)
    runs = [
        start(*calm.sweep.command(place), environment=place.environment, hook=hook)
        for hook in hooks
    ]
    how = f"{number.name} at {'a file operation' if by_file else 'a random time'}"
    fault = f"{how}, {processes} process{'es' if processes > 1 else ''}"
    if not by_file:
        time.sleep(draw.uniform(0, calm.seconds))
        runs[0].send_if_running(number)
    for position, run in enumerate(runs):
        yield _judged(run, fault if position == 0 else "survivor of a killed run", number)


def _judged(run: Command, fault: str, number: signal.Signals) -> Outcome:
    ended = run.wait()
    stopped = ended.code == -signal.SIGKILL or (ended.code == 130 and "interrupted" in ended.text)
    if (
        stopped
        and not ended.hung
        and "Traceback" not in ended.text
        and not fault.startswith("surv")
    ):
        return Outcome(campaign=CAMPAIGN, fault=fault, outcome=STOPPED)
    if not fault.startswith("survivor"):
        fault = "ended before the signal"
    outcome, detail = judge(ended, same=True)
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
