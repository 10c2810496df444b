"""Results of studies with made numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support import synthetic
from support.synthetic import BASE, constant, gains
from ttt_bench import open_results
from ttt_bench.analysis.studies import StudyResults, study_results
from ttt_bench.designs.declared_studies import find_study
from ttt_bench.results.study_files import ArmFile, StudyFile

PAIR = "taskonomy:nyud"
SEEDS = (0, 1)


class Made:
    """A results folder that is filled with cells, each with another configuration."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stored: dict[tuple[str, ...], list[str]] = {}

    def cells(
        self, method: str, *percent: float, tasks: tuple[str, ...] = tuple(BASE), **own: Any
    ) -> tuple[str, ...]:
        """Return the configurations of a method's cells, with a gain per step, for each seed."""
        known = (method, own.get("pair", PAIR), own.get("settings", ""))
        if known not in self.stored:
            self.stored[known] = []
            for seed in SEEDS:
                base = {task: BASE[task] * (1 + 0.1 * seed) for task in tasks}
                moved = gains(*(gain + seed for gain in percent), base=base)
                config = f"c{len(self.stored)}-{seed}"
                identity = {"config": config, "pair": PAIR, "seed": seed, **own}
                scores = moved if percent else constant(base)
                synthetic.add_cell(self.root, method, scores, **identity)
                self.stored[known].append(config)
        return tuple(self.stored[known])

    def study(self, name: str, arms: Mapping[str, tuple[str, ...]]) -> StudyResults:
        """Return the results of a built-in study with these cells per arm."""
        return study_results(open_results(self.root), self.file(name, arms))

    def file(self, name: str, arms: Mapping[str, tuple[str, ...]]) -> StudyFile:
        found = tuple(ArmFile(label=label, cells=cells) for label, cells in arms.items())
        return StudyFile(study=find_study(name), pair=PAIR, key="0" * 12, arms=found)
