"""From a request to the cells of a sweep: everything is checked, and every problem named, before
any work starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttt_bench.adapt.meta import meta_net
from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.preset import Preset, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.data.base import Dataset
from ttt_bench.data.pair import find_pair
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS
from ttt_bench.sweep.cell import CHECKPOINTS, Cell, _cell
from ttt_bench.sweep.fit import _method_notices, _size_problems, _source_problems, _verdict
from ttt_bench.sweep.opened import OpenedPair, open_pair
from ttt_bench.sweep.resolve import check_names
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class Sweep:
    """Every cell of a request, in the order in which they run."""

    request: Request
    cells: list[Cell]

    @property
    def checkpoints(self) -> Path:
        """Where source models are kept."""
        return self.request.results / CHECKPOINTS


def plan_sweep(request: Request, progress: Progress) -> Sweep:
    """Resolve a request into cells. Data sets are opened, but nothing is rendered, trained or
    written.

    What a person should know of the plan is said on `progress`.

    Raises:
        BenchError: everything that is wrong with the request, one line each.
    """
    check_names(request)
    problems: list[str] = []
    named = request.methods != ("all",)
    methods = _load_methods(request, named, progress, problems)
    pairs = {
        pair.name: pair for pair in map(find_pair, request.pair)
    }  # one pair may be written in several ways
    presets = {
        name: request.preset or ("quick" if pair.embedded else "paper")
        for name, pair in pairs.items()
    }
    resolved = {
        name: _resolve(name, methods, request, problems) for name in dict.fromkeys(presets.values())
    }
    _raise(problems)  # before data are opened, which may take minutes
    cells: list[Cell] = []
    notices: list[str] = []
    known: dict[str, Dataset] = {}
    for name, pair in pairs.items():
        preset_name = presets[name]
        preset, settings = resolved[preset_name]
        try:
            work = open_pair(pair, preset_name, preset, request, progress, known)
        except BenchError as error:
            problems.append(str(error))
            continue
        network = meta_net(preset.model, work.channels()).model
        problems += [*_size_problems(work, network), *_source_problems(request, work)]
        notices += [*work.notices, *_method_notices(settings, network, preset)]
        cells += _cells(request, work, settings, named, problems)
    for notice in dict.fromkeys(notices):
        progress.notice(notice)
    _raise(problems)
    return Sweep(request, cells)


def _resolve(
    name: str, methods: list[type[Adapter]], request: Request, problems: list[str]
) -> tuple[Preset, list[MethodSettings]]:
    """A preset and every method's settings under it; what does not fit is added to the problems."""
    preset = resolve_preset(name, request.set)
    settings: list[MethodSettings] = []
    for method in methods:
        try:
            settings.append(resolve_method(method, preset, request))
        except BenchError as error:
            problems.append(str(error))
    return preset, settings


def _load_methods(
    request: Request, named: bool, progress: Progress, problems: list[str]
) -> list[type[Adapter]]:
    """The wanted methods. A broken one is a problem if it was named; any other is said, and the
    rest goes on.
    """
    methods: list[type[Adapter]] = []
    wanted = request.methods if named else METHODS.names()
    for name in dict.fromkeys([*wanted, *METHODS.names()]):
        try:
            method = METHODS.load(name)
        except BenchError as error:
            if named and name in wanted:
                problems.append(str(error))
            else:
                progress.notice(f"left out: {error}")
        else:
            methods += [method] if name in wanted else []
    return methods


def _cells(
    request: Request,
    work: OpenedPair,
    settings: list[MethodSettings],
    named: bool,
    problems: list[str],
) -> list[Cell]:
    cells = []
    verdicts = [_verdict(request, work, one.adapter) for one in settings]
    if named:
        problems += [
            f"{work.pair.name}: {one.adapter.name} {verdict.reason}"
            for one, verdict in zip(settings, verdicts, strict=True)
            if verdict.reason
        ]
    for seed in request.seeds:
        for one, verdict in zip(settings, verdicts, strict=True):
            for control in (
                request.control if verdict.moves else ("none",)
            ):  # what does not move need not be frozen
                cells += [
                    _cell(request, work, one, control, protocol, seed, verdict.reason)
                    for protocol in request.protocol
                ]
    return cells


def _raise(problems: list[str]) -> None:
    if problems:
        lines = (line for problem in problems for line in problem.splitlines())
        raise BenchError("\n".join(dict.fromkeys(lines)))
