"""Disturb what a process gets from the system: its clock and its memory."""

from __future__ import annotations

import datetime
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from faults.outcome import DEFECT, RECORDED, SAME, Outcome, judge
from faults.sweeps import Calm, Place, differing, save_always
from ttt_bench.results import store

CLOCK, MEMORY = "clock", "memory"
_DAY = 86400.0
_JUMPS = (-400 * _DAY, -_DAY, -60.0, 60.0, _DAY, 4000 * _DAY)


def clock_campaign(
    calms: list[Calm], count: int, draw: random.Random, root: Path
) -> Iterator[Outcome]:
    """Let the clock jump at a random moment of `count` runs."""
    for number in range(count):
        calm, jump = draw.choice(calms), draw.choice(_JUMPS)
        place = _with_checkpoints(calm, root / f"clock-{number}")
        ended = calm.sweep.run(place, hook=_jumping(jump, draw.randint(1, 60)))
        wrong = differing(place.results, calm.content)
        outcome, detail = judge(ended, same=not wrong)
        if negative := _negative_seconds(place):
            outcome, detail = DEFECT, f"negative seconds: {negative}"
        fault = f"clock {'back' if jump < 0 else 'forward'}"
        yield Outcome(campaign=CLOCK, fault=fault, outcome=outcome, detail=detail)
        place.remove()


def memory_campaign(
    calms: list[Calm], count: int, draw: random.Random, root: Path
) -> Iterator[Outcome]:
    """Let memory run out in a random step or prediction of `count` runs, then run again."""
    for number in range(count):
        calm, error = draw.choice(calms), draw.choice(sorted(ERRORS))
        place = _with_checkpoints(calm, root / f"memory-{number}")
        ended = calm.sweep.run(place, hook=_failing(ERRORS[error], draw.randint(1, 12)))
        outcome, detail = judge(ended, same=not differing(place.results, calm.content))
        if outcome == RECORDED and _failed_cells(place) != 1:
            outcome, detail = DEFECT, f"{_failed_cells(place)} failed cells: {ended.text[-800:]}"
        yield Outcome(campaign=MEMORY, fault=error, outcome=outcome, detail=detail)
        again = calm.sweep.run(place)
        wrong = differing(place.results, calm.content)
        outcome, detail = judge(again, same=not wrong)
        if outcome != SAME:
            outcome, detail = DEFECT, f"{wrong} {detail} {again.text[-800:]}"
        fault = "run after: out of memory"
        yield Outcome(campaign=MEMORY, fault=fault, outcome=outcome, detail=detail)
        place.remove()


def _with_checkpoints(calm: Calm, root: Path) -> Place:
    """Return a new place with the rendered images and checkpoints of an undisturbed run."""
    place = Place(root)
    shutil.copytree(calm.place.cache, place.cache)
    shutil.copytree(calm.place.results / "checkpoints", place.results / "checkpoints")
    return place


def _negative_seconds(place: Place) -> list[float]:
    found = []
    for folder, _ in store.cells(place.results):
        attempts = store.read_attempts(folder)["attempts"]
        found += [attempt["seconds"] for attempt in attempts if attempt["seconds"] < 0]
    return found


def _failed_cells(place: Place) -> int:
    return sum(manifest["state"] == "failed" for _, manifest in store.cells(place.results))


def _jumping(jump: float, calls: int) -> Callable[[], None]:
    """Return a hook after which the clock of the process jumps at its n-th reading."""

    def hook() -> None:
        save_always()
        real, left = time.time, calls

        def now() -> float:
            nonlocal left
            left -= 1
            return real() + (jump if left <= 0 else 0.0)

        class Jumping(datetime.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return cls.fromtimestamp(now(), tz)

        time.time, time.time_ns = now, lambda: int(now() * 1e9)
        _replace_everywhere(datetime.datetime, Jumping)

    return hook


def _replace_everywhere(old: type, new: type) -> None:
    """Replace a class in every module of the package that imported it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ttt_bench") and getattr(module, "datetime", None) is old:
            module.datetime = new  # type: ignore[attr-defined]


def _failing(error: Callable[[], Exception], calls: int) -> Callable[[], None]:
    """Return a hook after which the n-th forward pass of adapting runs out of memory."""

    def hook() -> None:
        save_always()
        from ttt_bench.adapt.session import Session

        left = calls

        def replaced(real: Callable[..., Any]) -> Callable[..., Any]:
            def failing(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    raise error()
                return real(*arguments, **named)

            return failing

        Session.step = replaced(Session.step)  # type: ignore[method-assign]
        Session.predict = replaced(Session.predict)  # type: ignore[method-assign]

    return hook


def _refused_by_allocator() -> Exception:
    """Return the error of an allocation that the system refuses, raised by PyTorch itself."""
    try:
        torch.empty(1 << 60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("an exbibyte was allocated")


ERRORS: dict[str, Callable[[], Exception]] = {
    "CPU allocator": _refused_by_allocator,
    "CUDA allocator": lambda: torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"
    ),
    "Python": MemoryError,
}
"""Name -> function that returns an out-of-memory error."""
