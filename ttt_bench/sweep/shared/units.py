"""The work of a sweep as a graph: source trainings, source statistics, shards, then cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.shared.shards import Shard, shards_of
from ttt_bench.train.chain import TrainingStage, checkpoint_path, statistics_path


class Kind(StrEnum):
    """The kinds of units, in the order in which a cell needs them."""

    TRAINING = "training"
    STATISTICS = "statistics"
    SHARD = "shard"
    CELL = "cell"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A part of a sweep that one process computes at a time.

    Attributes:
        kind: the kind of work.
        name: the unique name that the unit is claimed under.
        title: the unit in messages.
        needs: names of the units that have to end before.
        cell: the cell that the unit is computed for; the first one if several need it.
        stage: the stage of source training; None for other kinds.
        shard: the shard of the cell; None for other kinds.
        shards: for a cell, its shards; empty if it is not split.
    """

    kind: Kind
    name: str
    title: str
    needs: tuple[str, ...]
    cell: Cell
    stage: TrainingStage | None = None
    shard: Shard | None = None
    shards: tuple[Shard, ...] = ()


def pending_units(cells: Iterable[Cell], checkpoints: Path, shards: int = 1) -> list[Unit]:
    """Return the units of cells that have to be computed, each after those that it needs.

    A stage of source training is left out if its checkpoint exists, or if a checkpoint of a later
    stage or source statistics make it unnecessary.

    Args:
        cells: the cells that are not finished.
        checkpoints: the folder of checkpoints.
        shards: the number of shards per cell that can be split.
    """
    existing = {path.name for path in checkpoints.glob("*.safetensors")}
    units: dict[str, Unit] = {}
    for cell in cells:
        for unit in _units_of(cell, existing, shards_of(cell, shards)):
            units.setdefault(unit.name, unit)
    return list(units.values())


def _units_of(cell: Cell, existing: Collection[str], shards: tuple[Shard, ...]) -> Iterator[Unit]:
    """Yield the units of a cell, given the names of the files in the folder of checkpoints."""
    needs: tuple[str, ...] = ()
    if cell.reason is None:
        stages = () if cell.weights else _missing_stages(cell.chain, existing)
        for stage in stages:
            unit = _training(cell, stage, needs)
            needs = (unit.name,)
            yield unit
        statistics = cell.config["statistics"]
        if statistics is not None:
            path = statistics_path(Path(), cell.settings.adapter, statistics)
            if path.name not in existing:
                title = f"source statistics of {cell.method}"
                yield Unit(
                    kind=Kind.STATISTICS, name=path.stem, title=title, needs=needs, cell=cell
                )
                needs = (path.stem,)
    title = f"{cell.method} on {cell.opened.pair.name}, {cell.protocol}, seed {cell.seed}"
    parts = tuple(f"{cell.name}{shard.name}" for shard in shards)
    for name, shard in zip(parts, shards, strict=True):
        yield Unit(
            kind=Kind.SHARD,
            name=name,
            title=f"{title}, shard {shard.number + 1} of {shard.of}",
            needs=needs,
            cell=cell,
            shard=shard,
        )
    yield Unit(
        kind=Kind.CELL,
        name=cell.name,
        title=title,
        needs=parts or needs,
        cell=cell,
        shards=shards,
    )


def _training(cell: Cell, stage: TrainingStage, needs: tuple[str, ...]) -> Unit:
    return Unit(
        kind=Kind.TRAINING,
        name=stage.key,
        title=f"training {stage.name} on {cell.spec.domain}, seed {cell.seed}",
        needs=needs,
        cell=cell,
        stage=stage,
    )


def _missing_stages(
    chain: Sequence[TrainingStage], existing: Collection[str]
) -> Sequence[TrainingStage]:
    """Return the stages after the last one that has a checkpoint."""
    for done in range(len(chain), 0, -1):
        if checkpoint_path(Path(), chain[done - 1].key).name in existing:
            return chain[done:]
    return chain
