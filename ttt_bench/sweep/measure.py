"""Measure one cell: prepare the source model, adapt, and collect the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ttt_bench.adapt.evaluate import evaluate
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.run_progress import RunProgress
from ttt_bench.adapt.session import Session
from ttt_bench.adapt.shard_record import ShardRecord, merged
from ttt_bench.adapt.verified import VerifiedSession
from ttt_bench.adapter import Norm
from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.model.batchnorm import set_norm
from ttt_bench.model.weights import load_weights
from ttt_bench.network import Net
from ttt_bench.protocols import protocol_of
from ttt_bench.results import schema
from ttt_bench.results.schema import AGREEMENT
from ttt_bench.results.timed_work import Stopwatch
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.settings import normalisation_of, recipe_of, scoring_of, target_of
from ttt_bench.sweep.shared.shards import Shard
from ttt_bench.train.chain import trains_own_source
from ttt_bench.train.net import build_net
from ttt_bench.train.trainer import Trainer
from ttt_bench.util import tensor_file
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_aside
from ttt_bench.util.store import mirror

Saved = tuple[dict[str, Tensor], dict[str, Any]]
"""The tensors and the description in a file of unfinished work."""


@dataclass(frozen=True)
class PartSeconds:
    """Seconds that the parts of a cell took.

    Attributes:
        source: to load, wait for, or train the source model and to get the source statistics.
        adapting: to adapt and score, in this attempt.
        adapted_before: to adapt and score, in the earlier attempts that this one resumed.
    """

    source: float
    adapting: float
    adapted_before: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers of a cell.

    Attributes:
        record: everything measured.
        rows: the scores.
        own_source: everything measured of the method's own source model before adapting, step 0
            only; None if it starts from Base's.
        seconds: how long its parts took.
    """

    record: Record
    rows: pd.DataFrame
    own_source: Record | None
    seconds: PartSeconds

    @property
    def own_source_scores(self) -> dict[str, float] | None:
        """Task -> score of the method's own source model before adapting, if it has one."""
        return None if self.own_source is None else self.own_source.primary_scores(0)


@dataclass(frozen=True, kw_only=True)
class CellRun:
    """A cell while it is measured.

    Attributes:
        cell: the cell.
        results: the results folder, for the unfinished cell's file.
        source_weights: file of a source model trained elsewhere; None to use `trainer`.
        trainer: trains and finds source models.
        progress: shows one bar.
        save_seconds: seconds between two saves of the unfinished cell.
    """

    cell: Cell
    results: Path
    source_weights: Path | None
    trainer: Trainer
    progress: Progress
    save_seconds: float

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return self.trainer.device

    def measure(self, shards: Sequence[Shard] = ()) -> Measured:
        """Adapt and score under the cell's protocol; an unfinished cell is resumed.

        Args:
            shards: the shards that `measure_shard` has measured; empty if the cell is not split.

        Raises:
            DivergedError: training or adapting diverged.
            BenchError: a file is damaged, or a task has no valid pixel.
        """
        cell, watch = self.cell, Stopwatch()
        net, statistics = self.prepared()
        source_seconds = watch.seconds
        own_source = self._own_source(net) if trains_own_source(cell.settings.adapter) else None
        record = Record(batches=self.cell.opened.batches, steps=cell.settings.steps)
        if shards:
            parts = [self._shard_record(shard) for shard in shards]
            record = merged([part for part, _ in parts], record)
            before, now = sum(seconds for _, seconds in parts), 0.0
        else:
            before, now = self._adapt(self.session(net, statistics), record)
        return Measured(
            record=record,
            rows=self._rows(record),
            own_source=own_source,
            seconds=PartSeconds(source_seconds, now, before),
        )

    def measure_shard(self, shard: Shard) -> None:
        """Adapt and score the batches of a shard, and store the record; it is resumed.

        Raises:
            DivergedError: training or adapting diverged.
            BenchError: a file is damaged or cannot be written.
        """
        record = ShardRecord(batches=self.cell.opened.batches, steps=self.cell.settings.steps)
        session = self.session(*self.prepared())
        self._adapt(session, record, shard)

    def _adapt(
        self, session: Session, record: Record, shard: Shard | None = None
    ) -> tuple[float, float]:
        """Adapt and score all batches or those of a shard; return seconds before and now."""
        start, before = self._resume(session, record, shard)
        watch = Stopwatch(before)
        save = self._saver(session, record, watch, shard)
        run = self._protocol_run(session, record, save, shard)
        run.run(protocol_of(self.cell.protocol), start)
        if shard is not None:
            save(shard.stop)
        return before, watch.seconds - before

    def _shard_record(self, shard: Shard) -> tuple[ShardRecord, float]:
        """Return the record of a shard, and the seconds that it took.

        A record that was lost or damaged meanwhile is measured again.
        """
        record = ShardRecord(batches=self.cell.opened.batches, steps=self.cell.settings.steps)
        saved = self._saved_or_none(shard)
        if saved is None or saved[1]["unit"] != shard.stop:
            self.measure_shard(shard)
            saved = self._saved(self._path(shard))
        return record, self._take_over(record, *saved)

    def prepared(self) -> tuple[Net, dict[str, Tensor]]:
        """Return the source model, as it sees images of the target, and the source statistics.

        Raises:
            DivergedError: training diverged.
            BenchError: a file is damaged.
        """
        cell = self.cell
        net = self._source_model()
        statistics = self._source_statistics(net)
        target = normalisation_of(cell.opened.pair.target, cell.opened.variant)
        if target != cell.spec.normalisation:
            # otherwise the model keeps its own, which a model trained elsewhere may contain
            net.model.normalise_by(target)
        return net, statistics

    def _source_model(self) -> Net:
        cell, opened = self.cell, self.cell.opened
        if self.source_weights is None:
            return self.trainer.source_model(
                cell.spec,
                cell.settings.adapter,
                opened.source_data,
                opened.preset.data.workers,
            )
        net = build_net(cell.spec, cell.settings.adapter, pretrained=False).to(self.device)
        load_weights(net.model, self.source_weights)
        return net

    def _source_statistics(self, net: Net) -> dict[str, Tensor]:
        cell, opened = self.cell, self.cell.opened
        return self.trainer.source_statistics(
            net,
            cell.spec,
            cell.settings.adapter,
            opened.source_data,
            parent=cell.parent,
            target_size=opened.target_data.size,
            workers=opened.preset.data.workers,
        )

    def _own_source(self, net: Net) -> Record:
        """Measure the method's source model before adapting."""
        set_norm(net.eval().model, Norm.RUNNING)
        return evaluate(
            net.model,
            self.cell.opened.target_data,
            batches=self.cell.opened.batches,
            tasks=tuple(self.cell.spec.tasks),
            scoring=scoring_of(self.cell.opened.pair.target),
            device=self.device,
        )

    def session(self, net: Net, statistics: dict[str, Tensor]) -> Session:
        """Return the method on its network; both as `prepared` returns them."""
        cell, pair, variant = self.cell, self.cell.opened.pair, self.cell.opened.variant
        return VerifiedSession(
            net,
            cell.settings.adapter,
            optimiser=cell.settings.optimiser,
            statistics=statistics,
            target=target_of(cell.opened),
            recipe=recipe_of(pair.target, variant),
            seed=cell.seed,
            source_recipe=recipe_of(pair.source, variant),
        )

    def _protocol_run(
        self, session: Session, record: Record, save: Callable[[int], None], shard: Shard | None
    ) -> ProtocolRun:
        cell, pair = self.cell, self.cell.opened.pair
        title = f"{cell.method} on {pair.name}, {cell.protocol}, seed {cell.seed}"
        if shard is not None:
            title += f", shard {shard.number + 1} of {shard.of}"
        return ProtocolRun(
            session=session,
            dataset=cell.opened.target_data,
            tasks=cell.spec.tasks,
            scoring=scoring_of(pair.target),
            record=record,
            device=self.device,
            progress=RunProgress(
                display=self.progress,
                title=title,
                save=save,
                save_seconds=self.save_seconds,
            ),
            keep_examples=pair.target.embedded,
            agreement=AGREEMENT in cell.config["signals"],
            stop=None if shard is None else shard.stop,
        )

    def _path(self, shard: Shard | None) -> Path:
        """Return the file of the unfinished cell, or of a shard."""
        if shard is None:
            return self.cell.partial(self.results)
        return shard.path(self.cell, self.results)

    def _saver(
        self, session: Session, record: Record, watch: Stopwatch, shard: Shard | None
    ) -> Callable[[int], None]:
        path = self._path(shard)

        def save(unit: int) -> None:
            state = session.state() | tensor_file.with_prefix("record.", record.to_tensors())
            about = {
                "unit": unit,
                "seconds": watch.seconds,
                "losses": record.losses,
                "schema_version": schema.SCHEMA_VERSION,
                "config": self.cell.hash,
                "name": path.name,
            }
            tensor_file.save(path, state, about)

        return save

    def _resume(self, session: Session, record: Record, shard: Shard | None) -> tuple[int, float]:
        """Restore an unfinished cell or shard.

        Returns:
            The first unit of work that is left, and the seconds that those before it took.
        """
        saved = self._saved_or_none(shard)
        if saved is None:
            return 0 if shard is None else shard.start, 0.0
        state, about = saved
        session.restore(state)
        return int(about["unit"]), self._take_over(record, state, about)

    def _take_over(self, record: Record, state: dict[str, Tensor], about: dict[str, Any]) -> float:
        """Fill a record with what was saved; return the seconds that it took."""
        record.from_tensors(tensor_file.below_prefix("record.", state))
        record.losses = [tuple(entry) for entry in about["losses"]]
        # earlier versions did not count seconds
        return float(about.get("seconds", 0.0))

    def _saved_or_none(self, shard: Shard | None) -> Saved | None:
        """Return what `_saver` wrote; None if it is missing, of an earlier version, or damaged."""
        path = self._path(shard)
        mirror.fetch(path)
        if not path.exists():
            return None
        try:
            state, about = self._saved(path)
        except DamagedError as error:
            kept = set_aside(path, self.results)
            self.progress.notice(f"{error}. It is now {kept}")
            return None
        # an earlier version measured less, so the work starts again
        return (state, about) if about.get("schema_version") == schema.SCHEMA_VERSION else None

    def _saved(self, partial: Path) -> Saved:
        """Return what `_saver` wrote.

        Raises:
            DamagedError: the file is damaged, or of another cell or shard.
        """
        state, about = tensor_file.load(partial)
        if (about.get("config"), about.get("name")) != (self.cell.hash, partial.name):
            raise DamagedError(partial, "it is of another cell or shard", tensor_file.REMEDY)
        return state, about

    def _rows(self, record: Record) -> pd.DataFrame:
        rows = record.rows(self.cell.identity, self.cell.opened.classes)
        empty = rows[~np.isfinite(rows["value"])]["task"].unique()
        if len(empty):
            raise BenchError(
                f"no valid target pixel of {', '.join(empty)} in the {record.images} target images"
            )
        return rows


def tables(measured: Measured) -> dict[str, Any]:
    """Return the tables and examples that are stored for a measured cell, by name."""
    record, own_source = measured.record, measured.own_source
    return {
        "rows": measured.rows,
        "statistics": record.statistics_table(),
        "losses": record.losses_table(),
        "examples": record.examples or None,
        "totals": record.totals_table(),
        "source": None if own_source is None else own_source.statistics_table(),
        "signals": record.signals_table(),
    }
