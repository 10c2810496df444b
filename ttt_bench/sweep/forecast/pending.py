"""The work that a planned sweep still has to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.results.schema import FINISHED
from ttt_bench.results.timed_work import Work
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.forecast.work import adapting_work
from ttt_bench.sweep.plan import Sweep
from ttt_bench.train.chain import TrainingStage, checkpoint_path, statistics_path
from ttt_bench.train.work import statistics_work, training_work


@dataclass(frozen=True)
class Pending:
    """The work that a sweep still has to do.

    Attributes:
        works: hash of a cell -> its work. Source training and statistics that several cells need
            are part of the first one only.
        trainings: number of training stages among them.
    """

    works: Mapping[str, list[Work]]
    trainings: int


def pending_work(sweep: Sweep, states: Mapping[str, str], device: str) -> Pending:
    """Return the work that a sweep still has to do, in the order in which it is done.

    Args:
        sweep: the sweep.
        states: hash of every cell -> its state.
        device: name of the device.
    """
    works: dict[str, list[Work]] = {}
    trained: dict[Path, Work] = {}
    measured: dict[Path, Work] = {}
    for cell in sweep.cells:
        if states[cell.hash] in FINISHED or cell.hash in works:
            continue
        training = dict(_training(cell, sweep, trained, device))
        statistics = dict(_statistics(cell, sweep.checkpoints, measured, device))
        trained |= training
        measured |= statistics
        adapting = adapting_work(cell, device)
        works[cell.hash] = [*training.values(), *statistics.values(), adapting]
    return Pending(works, len(trained))


def _training(
    cell: Cell, sweep: Sweep, before: Mapping[Path, Work], device: str
) -> Iterator[tuple[Path, Work]]:
    """Yield checkpoint and work of the stages that are trained for a cell."""
    if cell.weights is None:
        data, devices = cell.opened.source_data, sweep.request.train_devices
        for stage in _untrained(cell, sweep.checkpoints, before):
            work = training_work(cell.spec, stage, data, device, devices=devices)
            yield checkpoint_path(sweep.checkpoints, stage.key), work


def _untrained(
    cell: Cell, checkpoints: Path, before: Mapping[Path, Work]
) -> tuple[TrainingStage, ...]:
    """Return the stages after the last one that has a checkpoint, or is trained before."""
    paths = [checkpoint_path(checkpoints, stage.key) for stage in cell.chain]
    done = [n for n, path in enumerate(paths, start=1) if path in before or path.exists()]
    return cell.chain[max(done, default=0) :]


def _statistics(
    cell: Cell, checkpoints: Path, before: Mapping[Path, Work], device: str
) -> Iterator[tuple[Path, Work]]:
    """Yield file and work of the source statistics that are measured for a cell."""
    key, adapter = cell.config["statistics"], cell.settings.adapter
    if key is None:
        return
    path = statistics_path(checkpoints, adapter, key)
    if path not in before and not path.exists():
        yield path, statistics_work(key, cell.spec, adapter, cell.opened.source_data, device)
