"""Check the methods and networks of other packages in a sweep, once per version of their code.

Verdicts are kept in the user's cache folder. A verdict is found again by the hash of the plugin's
code, of the harness and its packages, and of the options that the user set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_bench.adapter import Adapter
from ttt_bench.config.request import Request
from ttt_bench.conformance import Result, check_method
from ttt_bench.conformance.networks import check_network
from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.network import Network
from ttt_bench.registry import NETWORKS
from ttt_bench.results.contract import Kind, State, Verdict
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.contract import Plugin, foreign_plugins
from ttt_bench.sweep.plan import Sweep
from ttt_bench.util.hashing import code_hash, harness_hash, hash_of, versions
from ttt_bench.util.input.validation import Strict
from ttt_bench.util.paths import cache_folder
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_damaged_aside
from ttt_bench.util.stored import sealed

FOLDER = "contract"
"""The folder of verdicts in the cache folder."""
REMEDY = "the next run sets it aside and checks the plugin again"

NETWORK_OPTIONS = "model.architecture_args"
"""The setting with the options of a network."""


class _Kept(Strict):
    """The content of a file: the attributes of `Verdict`."""

    state: State
    failed: dict[str, str]
    kit: str
    package: str
    name: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A plugin with the options to check it with.

    Attributes:
        plugin: kind and name.
        code: what the hash of its code covers.
        options: the options, as `check` takes them.
        check: runs all checks.
    """

    plugin: Plugin
    code: tuple[Any, ...]
    options: dict[str, Any]
    check: Callable[[], list[Result]]

    @property
    def path(self) -> Path:
        """The file of the verdict."""
        key = hash_of(
            [*self.plugin, code_hash(*self.code), kit(), versions(), self.options],
            16,
        )
        return cache_folder() / FOLDER / f"{key}.json"


def kit() -> str:
    """Return the version of the checks: that of ttt-bench, and the hash of its code."""
    return f"{versions()['ttt-bench']} ({harness_hash()})"


def contract_verdicts(sweep: Sweep, progress: Progress) -> dict[Plugin, Verdict]:
    """Return the verdicts on the methods and networks of other packages in a sweep.

    Those that were not checked before are checked, which takes seconds each. With the request's
    `check` off, the dict has known verdicts only.

    Args:
        sweep: the cells; those that do not apply are left out.
        progress: shows one bar, and a notice per plugin that fails.
    """
    cases = list(_cases(sweep))
    found = {case.plugin: known for case in cases if (known := _read(case, progress.notice))}
    waiting = [case for case in cases if case.plugin not in found] if sweep.request.check else []
    if waiting:
        with progress.bar("checking plugins of other packages", len(waiting)) as bar:
            for case in waiting:
                found[case.plugin] = _checked(case, progress)
                bar.advance(note=case.plugin.name)
    for verdict in found.values():
        if verdict.state is State.FAILED:
            progress.notice(f"{verdict.explanation()}. Its rows are marked")
    return found


def _cases(sweep: Sweep) -> Iterator[_Case]:
    """Yield the methods and networks of other packages that have a cell, each once."""
    # a sweep has many cells of few methods and networks
    cells = {
        (cell.method, cell.opened.preset.model.architecture): cell
        for cell in sweep.cells
        if cell.reason is None
    }
    found = {plugin: cell for cell in cells.values() for plugin in foreign_plugins(cell)}
    for plugin, cell in found.items():
        yield _case(plugin, cell, sweep.request)


def _case(plugin: Plugin, cell: Cell, request: Request) -> _Case:
    if plugin.kind is Kind.NETWORK:
        return _network_case(plugin, NETWORKS.load(plugin.name), request)
    return _method_case(plugin, type(cell.settings.adapter), request)


def _method_case(plugin: Plugin, method: type[Adapter], request: Request) -> _Case:
    options = _options(method, request)
    return _Case(
        plugin=plugin,
        code=(method, *method.depends_on),
        options=options,
        check=lambda: check_method(method, options),
    )


def _network_case(plugin: Plugin, kind: type[Network], request: Request) -> _Case:
    options = {key: value for key, value in request.set.items() if key == NETWORK_OPTIONS}
    return _Case(
        plugin=plugin,
        code=(kind, kind.Options),
        options=options,
        check=lambda: check_network(kind, options),
    )


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
    """Check a plugin, and keep the verdict."""
    failed: dict[str, str] = {}
    try:
        for result in case.check():
            if not result.passed and result.ran:
                failed[result.check] = result.problem
    except BenchError as error:
        failed["settings"] = str(error)
    verdict = Verdict(
        state=State.FAILED if failed else State.PASSED,
        failed=failed,
        kit=kit(),
        package=case.plugin.package,
        name=case.plugin.name,
        kind=case.plugin.kind,
    )
    try:
        sealed.write(case.path, verdict.record(), "set TTT_BENCH_CACHE to another folder")
    except BenchError as error:
        progress.notice(f"{error}. The next run checks {case.plugin.name} again")
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
