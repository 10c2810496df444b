"""The Python interface of `ttt-bench run` and `ttt-bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.config.merging import make_request
from ttt_bench.config.request import Request
from ttt_bench.util.paths import user_path
from ttt_bench.util.progress import Progress, Silent

if TYPE_CHECKING:
    import pandas as pd

    from ttt_bench.report.render import Rendered
    from ttt_bench.sweep.plan import Sweep
    from ttt_bench.sweep.runner import Outcome


def run(progress: Progress | None = None, **settings: Any) -> pd.DataFrame:
    """Run a sweep and return the rows of its results folder.

    Args:
        progress: shows long work; nothing is shown by default.
        settings: fields of `ttt_bench.config.request.Request`, such as `methods=("base",
            "tent")`, `pair=("rooms:rooms-mix",)`, `seeds=(0, 1, 2)`, `preset="smoke"`,
            `results="results/try"`.

    Raises:
        BenchError: a setting is not allowed, data are missing, or the folder cannot be written.
    """
    from ttt_bench.results.store import read_results
    from ttt_bench.sweep.plan import plan_sweep
    from ttt_bench.sweep.resolve import resolve

    request: Request = make_request({}, settings)
    progress = progress or Silent()
    compute(plan_sweep(resolve(request), progress), progress)
    return read_results(request.results)


def compute(sweep: Sweep, progress: Progress) -> Outcome:
    """Check the methods of other packages in a sweep, and compute its cells.

    Raises:
        BenchError: the device is not available, data are damaged, or the results folder cannot be
            written.
    """
    from ttt_bench.conformance.verdicts import contract_verdicts
    from ttt_bench.sweep.runner import Runner

    return Runner(sweep, progress, verdicts=contract_verdicts(sweep, progress)).run()


def write_report(results: str | Path, out: str | Path) -> Rendered:
    """Write the report of a results folder to `out`: tables, figures and one page.

    See `ttt_bench.report.render.report`.
    """
    from ttt_bench.report.render import report

    return report(user_path(results), user_path(out))
