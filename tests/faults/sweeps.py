"""The tiny sweeps that the campaign breaks, and what an undisturbed run of them stores."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from faults.command import Ended, Hook, call
from ttt_bench.config.merging import make_request
from ttt_bench.config.request import Request
from ttt_bench.util.atomic import TEMPORARY_MARK

SETTINGS = {
    "data.rendered_train": 12,
    "data.rendered_target": 4,
    "data.target_limit": 4,
    "batch": 2,
    "training.batch": 4,
    "training.shared_iterations": 3,
    "training.iterations": 2,
    "tttpp.stat_images": 12,
    "actmad.stat_images": 8,
    "tttflow.flow_iterations": 2,
}
"""What makes `--preset smoke` smaller still."""
_HISTORY = "attempts.json"


def save_always() -> None:
    """Make runs of this process save unfinished work after every unit (a `Hook`).

    The table that a run prints at its end is left out, which takes as long as the tiny sweep.
    """
    from ttt_bench.cli import run
    from ttt_bench.sweep import runner

    defaults = list(runner.Runner.__init__.__defaults__ or ())
    defaults[0] = 0.0  # save_seconds
    runner.Runner.__init__.__defaults__ = tuple(defaults)  # type: ignore[method-assign]
    run.show_summary = lambda *arguments, **named: None  # type: ignore[assignment]


@dataclass(frozen=True)
class Sweep:
    """The options of one sweep.

    Attributes:
        methods: names joined by commas.
        protocols: names joined by commas.
    """

    methods: str
    protocols: str = "online"

    @property
    def arguments(self) -> list[str]:
        """The options of `run`, without the results folder."""
        settings = [f"--set={name}={value}" for name, value in self._settings().items()]
        fixed = ["--preset=smoke", "--device=cpu", "--steps=2"]
        return [f"--methods={self.methods}", f"--protocol={self.protocols}", *fixed, *settings]

    @property
    def request(self) -> Request:
        """The same as a request."""
        return make_request(
            {},
            {
                "methods": self.methods,
                "protocol": self.protocols,
                "preset": "smoke",
                "device": "cpu",
                "steps": 2,
                "set": self._settings(),
            },
        )

    def _settings(self) -> dict[str, int]:
        methods = self.methods.split(",")
        sections = ("data", "batch", "training", *methods)
        return {name: n for name, n in SETTINGS.items() if name.partition(".")[0] in sections}

    def run(self, place: Place, *more: str, hook: Hook | None = save_always) -> Ended:
        """Run the sweep to its end."""
        return call(*self.command(place, *more), environment=place.environment, hook=hook)

    def command(self, place: Place, *more: str) -> list[str]:
        """Return the whole command."""
        return ["run", *self.arguments, f"--results={place.results}", *more]


@dataclass(frozen=True)
class Place:
    """The folders of one run: `results` and `cache` below a root."""

    root: Path

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.root / "results"

    @property
    def cache(self) -> Path:
        """The folder of rendered images."""
        return self.root / "cache"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands."""
        return {"TTT_BENCH_CACHE": str(self.cache), "COLUMNS": "200"}

    def copy_from(self, other: Place) -> Place:
        """Copy all folders of another place here; return this one."""
        shutil.copytree(other.root, self.root, dirs_exist_ok=True)
        return self

    def remove(self) -> None:
        """Remove the place."""
        shutil.rmtree(self.root, ignore_errors=True)


def content(results: Path) -> dict[str, bytes]:
    """Return name -> bytes of everything that a results folder holds but history and times."""
    cells = [path for path in (results / "cells").rglob("*") if _HISTORY not in path.parts]
    checkpoints = (results / "checkpoints").glob("*.safetensors")
    kept = [path for path in (*cells, *checkpoints) if path.is_file()]
    return {str(path.relative_to(results)): path.read_bytes() for path in kept}


def differing(results: Path, calm: dict[str, bytes]) -> list[str]:
    """Return the names of the files of cells that differ from an undisturbed run's.

    A checkpoint may be missing, because it is not needed once all cells are done.
    """
    found = content(results)
    wanted = {name for name in calm if name.startswith("cells") or name in found}
    return sorted(name for name in wanted | found.keys() if found.get(name) != calm.get(name))


def left_over(place: Place) -> list[str]:
    """Return the temporary files and unfinished work in a place."""
    found = [path for path in place.root.rglob("*") if _is_temporary(path.name)]
    return sorted(str(path.relative_to(place.root)) for path in found)


def _is_temporary(name: str) -> bool:
    return TEMPORARY_MARK in name or name.endswith(".partial.safetensors")


@dataclass(frozen=True)
class Calm:
    """A sweep, the place where it ran without disturbance, and what it stored there."""

    sweep: Sweep
    place: Place
    content: dict[str, bytes]
    seconds: float


def undisturbed(sweep: Sweep, root: Path) -> Calm:
    """Run a sweep in a new place without disturbance.

    Raises:
        RuntimeError: it failed.
    """
    place = Place(root)
    os.makedirs(root)
    ended = sweep.run(place)
    if ended.code != 0:
        raise RuntimeError(ended.text)
    return Calm(sweep, place, content(place.results), ended.seconds)
