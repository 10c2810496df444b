"""The whole campaign, or a short form of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from faults import corruption, disks, kills, options, surroundings, weights
from faults.outcome import Outcome
from faults.sweeps import Calm, Sweep, undisturbed
from ttt_bench.sweep.resolve import resolve
from ttt_bench.util.hashing import harness_hash, versions
from ttt_bench.util.progress import Silent

SWEEPS = (
    Sweep("base,tent", "online,episodic"),
    Sweep("base,s4t"),
    Sweep("base,tttflow,actmad"),
    Sweep("base,norm,tipi"),
    Sweep("base,ttt,tttpp"),
    Sweep("base,clust3,nc_ttt"),
)
PARTS = {
    "kills": kills.campaign,
    "disks": disks.campaign,
    "clocks": surroundings.clock_campaign,
    "memory": surroundings.memory_campaign,
    "corruptions": corruption.campaign,
    "options": options.campaign,
    "weights": weights.campaign,
}
COUNTS = {
    "kills": 200,
    "disks": 60,
    "clocks": 20,
    "memory": 30,
    "corruptions": 500,
    "options": 1000,
    "weights": 100,
}
"""Part -> number of faults of the whole campaign."""

SHORT = {
    "kills": 1,
    "disks": 1,
    "clocks": 1,
    "memory": 1,
    "corruptions": 1,
    "options": 1,
    "weights": 1,
}
"""The same for the short form."""
SHORT_SWEEPS = (Sweep("base,tent"),)


class Campaign:
    """A campaign in a folder.

    Args:
        root: an empty folder.
        seed: seeds every draw.
        sweeps: what is run and broken.
    """

    def __init__(self, root: Path, seed: int, sweeps: tuple[Sweep, ...] = SWEEPS) -> None:
        self.root, self.seed, self.sweeps = root, seed, sweeps

    def run(self, counts: Mapping[str, int]) -> Iterator[Outcome]:
        """Yield the outcomes of every part with a count.

        Raises:
            RuntimeError: an undisturbed run fails.
        """
        _warm_up(self.sweeps)
        calms = [
            undisturbed(sweep, self.root / f"calm-{number}")
            for number, sweep in enumerate(self.sweeps)
        ]
        for name, count in counts.items():
            if count:
                yield from self._part(name, count, calms)

    def _part(self, name: str, count: int, calms: list[Calm]) -> Iterator[Outcome]:
        root = self.root / name
        root.mkdir()
        draw = random.Random(f"{self.seed} {name}")
        yield from PARTS[name](calms, count, draw, root)


def _warm_up(sweeps: tuple[Sweep, ...]) -> None:
    """Import everything and hash all code, so that forked children start at once.

    Nothing is computed, so that this process has no threads, with which a child could hang.
    """
    from ttt_bench.report import render
    from ttt_bench.sweep import runner
    from ttt_bench.sweep.plan import plan_sweep

    assert render
    assert runner
    torch.set_num_threads(1)
    harness_hash()
    versions()
    for sweep in sweeps:
        plan_sweep(resolve(sweep.request), Silent())
