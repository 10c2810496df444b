"""The Python interface of `ttt-bench run` and `ttt-bench report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.config.merging import make_request
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS
from ttt_bench.util.paths import user_path
from ttt_bench.util.progress import Progress, Silent
from ttt_bench.util.store.address import results_path

if TYPE_CHECKING:
    import pandas as pd

    from ttt_bench.adapter import Adapter
    from ttt_bench.report.render import Rendered
    from ttt_bench.sweep.outcome import Outcome
    from ttt_bench.sweep.plan import Sweep


def run(progress: Progress | None = None, **settings: Any) -> pd.DataFrame:
    """Run a sweep and return the rows of its results folder.

    Args:
        progress: shows long work; nothing is shown by default.
        settings: fields of `ttt_bench.config.request.Request`, such as `methods=("base",
            "tent")`, `pair=("rooms:rooms-mix",)`, `seeds=(0, 1, 2)`, `preset="smoke"`,
            `results="results/try"`. `methods` may contain classes, such as `("base", MyMethod)`.

    Raises:
        SweepError: cells failed or were lost. Everything else is computed and stored first, and the
            error has the `rows`. A diverged cell is a result, not a failure.
        BenchError: a setting is not allowed, data are missing, or the folder cannot be written.
    """
    from ttt_bench.results.failures import SweepError
    from ttt_bench.results.store import read_results
    from ttt_bench.sweep.plan import plan_sweep
    from ttt_bench.sweep.resolve import resolve

    methods, classes = _named_methods(settings.get("methods"))
    request: Request = make_request({}, {**settings, "methods": methods})
    progress = progress or Silent()
    with METHODS.extended(classes):
        outcome = compute(plan_sweep(resolve(request), progress), progress)
    rows = read_results(request.results)
    if outcome.incomplete:
        raise SweepError(outcome.failed, outcome.lost, rows, request.results)
    return rows


def _named_methods(methods: Any) -> tuple[Any, dict[str, type[Adapter]]]:
    """Return `methods` with names in place of classes, and the classes to register by name.

    Raises:
        BenchError: an object is an instance of a method, or a class is not a valid method.
    """
    from ttt_bench.adapter import Adapter

    several = methods if isinstance(methods, list | tuple) else (methods,)
    if not any(isinstance(one, type | Adapter) for one in several):
        return methods, {}
    classes: dict[str, type[Adapter]] = {}
    for one in several:
        if isinstance(one, Adapter):
            raise BenchError(
                f"methods: give the class {type(one).__name__}, not an instance; set its options "
                f"with set={{'{one.name}.OPTION': value}}"
            )
        if isinstance(one, type):
            name = getattr(one, "name", one.__name__)
            if problems := METHODS.problems(one, name):
                raise BenchError(f"methods: {one.__name__} {'; '.join(problems)}")
            if name not in METHODS.names() or METHODS.load(name) is not one:
                classes[name] = one
    names = tuple(getattr(one, "name", one) for one in several)
    return names, classes


def compute(
    sweep: Sweep,
    progress: Progress,
    *,
    attempts: Mapping[str, int] | None = None,
    worker_of: str = "",
) -> Outcome:
    """Check the methods and networks of other packages in a sweep, and compute its cells.

    Args:
        sweep: the cells.
        progress: shows long work.
        attempts: as for `ttt_bench.sweep.runner.Runner`.
        worker_of: as for `ttt_bench.sweep.runner.Runner`.

    Raises:
        BenchError: the device or the launcher is not available, data are damaged, or the results
            folder cannot be written.
    """
    from ttt_bench.conformance.verdicts import contract_verdicts
    from ttt_bench.sweep.launchers.drive import launch
    from ttt_bench.sweep.runner import Runner

    verdicts = contract_verdicts(sweep, progress)
    if sweep.request.in_this_process:
        runner = Runner(sweep, progress, verdicts=verdicts, attempts=attempts, worker_of=worker_of)
        return runner.run()
    return launch(sweep, progress)


def write_report(
    results: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    methods: Sequence[str] = (),
    pairs: Sequence[str] = (),
    rule: str = "",
    controls: bool = True,
    tables: Sequence[str] = (),
    names: str | Mapping[str, str] = "proper",
) -> Rendered:
    """Write the report of one or several results folders to `out`: tables, figures and one page.

    Args:
        results: the folder or the folders, as paths or URLs.
        out: the folder to write to.
        methods: methods and groups of them that are shown; empty: all. Base and `norm` are always
            shown.
        pairs: pairs that are shown; empty: all.
        rule: the step rule of the main table; empty: `fixed` and `oracle`.
        controls: whether rows of frozen controls are shown.
        tables: names of tables that are shown with their figures; empty: all.
        names: `proper` or `short` names of methods, or a mapping of methods and rows to names.

    Raises:
        BenchError: a folder has no whole results, a choice is not in them, or `out` cannot be
            written.
    """
    from ttt_bench.report.render import report
    from ttt_bench.report.selection.choices import Choices, names_of

    several = [results] if isinstance(results, str | Path) else results
    wanted = Choices(
        methods=tuple(methods),
        pairs=tuple(pairs),
        rule=rule,
        controls=controls,
        tables=tuple(tables),
        names=names_of(names),
    )
    return report([results_path(one) for one in several], user_path(out), wanted)
