"""`work`: the hidden command that a launcher starts as a worker process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_bench.cli.options import AS_RESULTS
from ttt_bench.cli.output import Display, say
from ttt_bench.util.progress import Progress, Silent

if TYPE_CHECKING:
    from ttt_bench.sweep.plan import Sweep
    from ttt_bench.sweep.shared.order import WorkOrder


def work(
    order: Annotated[Path, typer.Argument(help="File of the work order.", **AS_RESULTS)],
    *,
    worker: Annotated[int, typer.Option(help="Number of the worker, from 0.")] = 0,
    attached: Annotated[
        bool, typer.Option("--attached", help="Stop when standard input is closed.")
    ] = False,
) -> None:
    """Compute the cells of a work order together with other workers.

    The exit code is 0 also if cells failed, since the run that started the workers counts them.
    """
    if attached:
        threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    from ttt_bench.api import compute
    from ttt_bench.sweep.shared.order import read_order, refuse_other_code, refuse_other_work

    wanted = read_order(order)
    refuse_other_code(wanted)
    sweep = _planned(wanted, Silent())  # the driver has shown the notices of the plan
    refuse_other_work(wanted, sweep)
    outcome = compute(sweep, Display(), attempts=wanted.attempts, worker_of=wanted.key)
    say(f"worker {worker} has ended: {sum(outcome.computed.values())} cells computed")


def _planned(order: WorkOrder, progress: Progress) -> Sweep:
    from ttt_bench.studies.declared import plan_studies
    from ttt_bench.sweep.plan import plan_sweep
    from ttt_bench.sweep.resolve import resolve

    if order.studies:
        return plan_studies(order.request, order.studies, progress).sweep
    return plan_sweep(resolve(order.request), progress)


def _stop_at_end_of_input() -> None:
    """Stop this process, as SIGTERM does, when the process that started it has ended."""
    # not `sys.stdin`, whose lock this thread would hold when the process ends
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
