"""Check the methods of other packages in a sweep, once per version of their code.

Verdicts are kept in the user's cache folder. A verdict is found again by the hash of the method's
code, of the harness and its packages, and of the options that the user set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_bench.adapter import Adapter
from ttt_bench.config.request import Request
from ttt_bench.conformance import check_method
from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.registry import METHODS
from ttt_bench.results.contract import State, Verdict
from ttt_bench.sweep.contract import is_foreign
from ttt_bench.sweep.plan import Sweep
from ttt_bench.util.hashing import code_hash, harness_hash, hash_of, versions
from ttt_bench.util.input.validation import Strict
from ttt_bench.util.paths import cache_folder
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_damaged_aside
from ttt_bench.util.stored import sealed

FOLDER = "contract"
"""The folder of verdicts in the cache folder."""
REMEDY = "the next run sets it aside and checks the method again"


class _Kept(Strict):
    """The content of a file: the attributes of `Verdict`."""

    state: State
    failed: dict[str, str]
    kit: str
    package: str


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A method with the options to check it with."""

    name: str
    method: type[Adapter]
    options: dict[str, Any]

    @property
    def path(self) -> Path:
        """The file of the verdict."""
        key = hash_of(
            [
                self.name,
                code_hash(self.method, *self.method.depends_on),
                kit(),
                versions(),
                self.options,
            ],
            16,
        )
        return cache_folder() / FOLDER / f"{key}.json"


def kit() -> str:
    """Return the version of the checks: that of ttt-bench, and the hash of its code."""
    return f"{versions()['ttt-bench']} ({harness_hash()})"


def contract_verdicts(sweep: Sweep, progress: Progress) -> dict[str, Verdict]:
    """Return method -> verdict for the methods of other packages in a sweep.

    Methods that were not checked before are checked, which takes seconds per method. With the
    request's `check` off, the dict has known verdicts only.

    Args:
        sweep: the cells; those that do not apply are left out.
        progress: shows one bar, and a notice per method that fails.
    """
    cases = _cases(sweep)
    found = {case.name: known for case in cases if (known := _read(case, progress.notice))}
    waiting = [case for case in cases if case.name not in found] if sweep.request.check else []
    if waiting:
        with progress.bar("checking methods of other packages", len(waiting)) as bar:
            for case in waiting:
                found[case.name] = _checked(case, progress)
                bar.advance(note=case.name)
    for name, verdict in found.items():
        if verdict.state is State.FAILED:
            progress.notice(f"{verdict.explanation(name)}. Its rows are marked")
    return found


def _cases(sweep: Sweep) -> list[_Case]:
    """Return the methods of other packages that have a cell, each once."""
    methods = {
        cell.method: type(cell.settings.adapter) for cell in sweep.cells if cell.reason is None
    }
    return [
        _Case(name=name, method=method, options=_options(method, sweep.request))
        for name, method in methods.items()
        if is_foreign(name)
    ]


def _options(method: type[Adapter], request: Request) -> dict[str, Any]:
    """Return the options that differ from the method's defaults in all presets."""
    original: Mapping[str, Any] = method.original.options if request.hparams == "original" else {}
    given = {
        name: request.set[key]
        for name in method.Options.model_fields
        if (key := f"{method.name}.{name}") in request.set
    }
    return {**original, **given}


def _checked(case: _Case, progress: Progress) -> Verdict:
    """Check a method, and keep the verdict."""
    failed: dict[str, str] = {}
    try:
        for result in check_method(case.method, case.options):
            if not result.passed and result.ran:
                failed[result.check] = result.problem
    except BenchError as error:
        failed["settings"] = str(error)
    verdict = Verdict(
        state=State.FAILED if failed else State.PASSED,
        failed=failed,
        kit=kit(),
        package=METHODS.entry(case.name).package,
    )
    try:
        sealed.write(case.path, verdict.record(), "set TTT_BENCH_CACHE to another folder")
    except BenchError as error:
        progress.notice(f"{error}. The next run checks {case.name} again")
    return verdict


def _read(case: _Case, notice: Callable[[str], None]) -> Verdict | None:
    """Return the kept verdict; None if it is missing, damaged and set aside, or unreadable."""
    try:
        if case.path.is_file():
            return Verdict(
                **_Kept.model_validate(sealed.read(case.path, _Kept, REMEDY)).model_dump()
            )
    except DamagedError as error:
        with suppress(BenchError):  # the cache may be read-only
            notice(set_damaged_aside(error, cache_folder()))
    except (BenchError, OSError):
        pass
    return None
