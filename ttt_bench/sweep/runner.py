"""The sweep: find or train the source models, adapt, and store what was measured, cell by cell."""

from __future__ import annotations

import platform
import socket
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttt_bench.adapt.evaluate import evaluate
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.run_progress import RunProgress
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm
from ttt_bench.errors import BenchError, DivergedError
from ttt_bench.metrics.base import Scoring
from ttt_bench.model.batchnorm import set_norm
from ttt_bench.model.weights import load_weights
from ttt_bench.network import Net
from ttt_bench.protocols import protocol_of
from ttt_bench.results import schema, store
from ttt_bench.sweep.cell import Cell, comparison_key, source_key
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.plan import Sweep
from ttt_bench.train.chain import training_chain, trains_own_source
from ttt_bench.train.changed_data import note
from ttt_bench.train.net import build_net
from ttt_bench.train.trainer import Trainer
from ttt_bench.util import tensor_file
from ttt_bench.util.hashing import harness_hash, versions
from ttt_bench.util.progress import Progress

FINISHED = ("done", "diverged", "not_applicable")


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one.

    Raises:
        BenchError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda have the double precision that scoring needs")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BenchError(
            f"device {name!r} cannot be used here; try --device cpu ({str(error).splitlines()[0]})"
        ) from error
    return device


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        computed: cells computed now, by how they ended.
        kept: cells that were there already.
    """

    computed: dict[str, int] = field(default_factory=dict)
    kept: int = 0

    def count(self, state: str) -> None:
        """Add one computed cell."""
        self.computed[state] = self.computed.get(state, 0) + 1


class Runner:
    """Runs a plan into its results folder; cells that are finished there are left alone."""

    def __init__(self, plan: Sweep, progress: Progress, save_seconds: float = 60.0) -> None:
        self.plan, self.request, self.progress = plan, plan.request, progress
        self.device = find_device(plan.request.device)
        self.save_seconds = save_seconds
        # full single precision, as the manifests say; cuDNN's default rounds convolutions to 10
        # bits
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        store.check_writable(plan.request.results)
        self.trainer = Trainer(
            folder=plan.checkpoints,
            device=self.device,
            progress=progress,
            save_seconds=save_seconds,
        )

    def run(self) -> Outcome:
        """Compute every cell that is not finished.

        Raises:
            BenchError: the data are damaged, or the results folder cannot be written.
        """
        outcome = Outcome()
        pending = [
            cell for cell in self.plan.cells if cell.state(self.request.results) not in FINISHED
        ]
        outcome.kept = len(self.plan.cells) - len(pending)
        for cell in {id(cell.work): cell for cell in pending if cell.reason is None}.values():
            self._prepare(cell)
        for cell in pending:
            outcome.count(self._cell(cell))
        return outcome

    def _prepare(self, cell: Cell) -> None:
        """Everything that can fail before hours of work: initial weights, files, rendering."""
        work = cell.work
        if self.request.source_weights is None:
            spec = work.source_spec(cell.seed, cell.settings.adapter)
            if not self.trainer.has(spec, cell.settings.adapter):
                build_net(spec, cell.settings.adapter)
            note(self.trainer.folder, work)
            work.source.prepare(self.progress)
        work.target.prepare(self.progress)

    def _cell(self, cell: Cell) -> str:
        started = datetime.now(UTC)
        manifest = self._manifest(cell)
        if cell.reason is not None:
            return self._finish(
                cell,
                store.CellFiles(
                    manifest=manifest | _state("not_applicable", cell.reason), attempts={}
                ),
                started,
            )
        try:
            files = self._measure(cell, manifest)
        except DivergedError as error:
            files = store.CellFiles(
                manifest=manifest | _state("diverged", str(error)) | {"diverged_at": error.step},
                attempts={},
            )
        except Exception as error:  # one cell must not stop the sweep; a full disk shows when the failure is stored
            reason = (
                str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            )
            details = {} if isinstance(error, BenchError) else {"traceback": traceback.format_exc()}
            self.progress.notice(f"{cell.method} on {cell.work.pair.name} failed: {reason}")
            files = store.CellFiles(manifest=manifest | _state("failed", reason), attempts=details)
        return self._finish(cell, files, started)

    def _finish(self, cell: Cell, files: store.CellFiles, started: datetime) -> str:
        results = self.request.results
        finished = datetime.now(UTC)
        attempt = {
            **files.attempts,
            "state": files.manifest["state"],
            "started": started.isoformat(),
            "finished": finished.isoformat(),
            "seconds": (finished - started).total_seconds(),
            "host": socket.gethostname(),
            "platform": platform.platform(),
        }
        earlier = store.read_attempts(cell.folder(results))
        attempts = {"finished": finished.isoformat(), "attempts": [*earlier, attempt]}
        store.write_cell(cell.folder(results), replace(files, attempts=attempts))
        if (
            files.manifest["state"] != "failed"
        ):  # what failed may go on from its last save once its cause is mended
            cell.partial(results).unlink(missing_ok=True)
        return str(files.manifest["state"])

    def _measure(self, cell: Cell, manifest: dict[str, Any]) -> store.CellFiles:
        work, adapter = cell.work, cell.settings.adapter
        spec, scoring = work.source_spec(cell.seed, adapter), work.scoring
        net, statistics = self._source(cell)
        normalisation = work.normalisation_of(work.pair.target)
        if (
            normalisation != spec.normalisation
        ):  # else the model keeps its own, which one trained elsewhere may bring
            net.model.normalise_by(normalisation)
        if trains_own_source(adapter):
            manifest = manifest | {
                "own_source_scores": self._own_scores(net, work, spec.tasks, scoring)
            }
        session = Session(
            net,
            adapter,
            optimiser=cell.settings.optimiser,
            statistics=statistics,
            recipe=work.target_recipe,
            batch=work.preset.batch,
            seed=cell.seed,
            source_recipe=work.source_recipe,
        )
        if not session.moved:
            manifest = manifest | {"optimiser": None}
        record = Record(batches=work.batches, steps=cell.settings.steps)
        start = self._resume(cell, session, record)
        ProtocolRun(
            session=session,
            dataset=work.target,
            tasks=spec.tasks,
            scoring=scoring,
            record=record,
            device=self.device,
            progress=RunProgress(
                display=self.progress,
                title=f"{adapter.name} on {work.pair.name}, {cell.protocol}, seed {cell.seed}",
                save=self._saver(cell, session, record),
                save_seconds=self.save_seconds,
            ),
            keep_examples=work.pair.target.embedded,
        ).run(protocol_of(cell.protocol), start)
        rows = record.rows(cell.identity, work.classes)
        empty = rows[~np.isfinite(rows["value"])]["task"].unique()
        if len(empty):
            raise BenchError(
                f"no valid target pixel of {', '.join(empty)} in the {record.images} target images"
            )
        return store.CellFiles(
            manifest=manifest | _state("done", None),
            attempts={},
            rows=rows,
            statistics=record.statistics_table(),
            losses=record.losses_table(),
            examples=record.examples if record.examples else None,
            totals=record.totals_table(),
        )

    def _source(self, cell: Cell) -> tuple[Net, dict[str, Tensor]]:
        work, adapter = cell.work, cell.settings.adapter
        spec = work.source_spec(cell.seed, adapter)
        workers = work.preset.data.workers
        if self.request.source_weights is not None:
            net = build_net(spec, adapter, pretrained=False).to(self.device)
            load_weights(net.model, self.request.source_weights)
        else:
            net = self.trainer.source_model(spec, adapter, work.source, workers)
        parent = source_key(self.request, spec, adapter)
        size = work.target.size
        return net, self.trainer.source_statistics(
            net, spec, adapter, work.source, parent=parent, target_size=size, workers=workers
        )

    def _own_scores(
        self, net: Net, work: OpenedPair, tasks: Iterable[str], scoring: Scoring
    ) -> dict[str, float]:
        set_norm(net.eval().model, Norm.RUNNING)
        return evaluate(
            net.model,
            work.target,
            batches=work.batches,
            tasks=tuple(tasks),
            scoring=scoring,
            device=self.device,
        )

    def _saver(self, cell: Cell, session: Session, record: Record) -> Callable[[int], None]:
        def save(unit: int) -> None:
            state = session.state() | tensor_file.with_prefix("record.", record.to_tensors())
            about = {"unit": unit, "losses": record.losses, "schema_version": schema.SCHEMA_VERSION}
            tensor_file.save(cell.partial(self.request.results), state, about)

        return save

    def _resume(self, cell: Cell, session: Session, record: Record) -> int:
        partial = cell.partial(self.request.results)
        if not partial.exists():
            return 0
        state, about = tensor_file.load(partial)
        if about.get("schema_version") != schema.SCHEMA_VERSION:
            # it lacks what is measured today, so the cell begins anew
            return 0
        session.restore(state)
        record.from_tensors(tensor_file.below_prefix("record.", state))
        record.losses = [tuple(entry) for entry in about["losses"]]
        return int(about["unit"])

    def _manifest(self, cell: Cell) -> dict[str, Any]:
        work = cell.work
        own = trains_own_source(cell.settings.adapter)
        return {
            **cell.identity,
            "configuration": cell.config,
            "optimiser": cell.config["optimiser"],
            "options": cell.config["options"],
            "preset_values": work.preset.model_dump(mode="json", exclude={"methods"}),
            "classes": list(work.classes),
            "segments": work.segments(),
            "scoring": work.scoring_words(),
            "comparison": comparison_key(self.request, work),
            "notices": list(work.notices),
            "source_model": cell.method if own else "base",
            "images": work.target_images,
            "provenance": {
                "harness": harness_hash(),
                "method": cell.config["code"],
                "versions": versions(),
                "device": self._device_name(),
                "precision": cell.config["precision"],
                "source_data": work.source.fingerprint,
                "target_data": work.target.fingerprint,
                "checkpoints": []
                if self.request.source_weights
                else [
                    s.key
                    for s in training_chain(
                        work.source_spec(cell.seed, cell.settings.adapter), cell.settings.adapter
                    )
                ],
                "source_weights": str(self.request.source_weights)
                if self.request.source_weights
                else None,
            },
        }

    def _device_name(self) -> str:
        return (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else str(self.device)
        )


def _state(state: str, reason: str | None) -> dict[str, Any]:
    return {"state": state, "reason": reason}
