"""Plan a sweep: resolve a request into cells and report every problem before work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.request import Request
from ttt_bench.registry import METHODS
from ttt_bench.sweep.cell import Cell, make_cell
from ttt_bench.sweep.fit import MethodFit, method_fit, network_fit, source_problems
from ttt_bench.sweep.opened import OpenedPair, open_pairs
from ttt_bench.sweep.problems import attempt, raise_problems
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.util.hashing import hash_file
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class Sweep:
    """All cells of a request.

    Attributes:
        resolved: the request.
        cells: the cells in the order in which they run.
    """

    resolved: ResolvedRequest
    cells: list[Cell]

    @property
    def request(self) -> Request:
        """The request as the user wrote it."""
        return self.resolved.request

    @property
    def checkpoints(self) -> Path:
        """The folder of source models."""
        return checkpoints_of(self.request)


@dataclass(frozen=True, kw_only=True)
class _Methods:
    """The methods of a request.

    Attributes:
        settings: name of a preset -> each method's settings in it.
        notices: reasons why methods that were not named are left out.
    """

    settings: dict[str, list[MethodSettings]]
    notices: list[str]


def checkpoints_of(request: Request) -> Path:
    """Return the folder of source models, which is in the results folder."""
    return request.results / "checkpoints"


def plan_sweep(resolved: ResolvedRequest, progress: Progress) -> Sweep:
    """Return the cells of a request. Opens data sets; renders, trains and writes nothing.

    Args:
        resolved: the request.
        progress: shows long work, and what the user should know about the plan.

    Raises:
        BenchError: the request cannot be run as it is; one line per problem.
    """
    methods, problems = _methods(resolved)
    raise_problems(problems)  # before data are opened, which may take minutes
    pairs, problems = open_pairs(resolved, progress)
    weights = _weights_hash(resolved.request)
    notices, cells = list(methods.notices), []
    for opened in pairs:
        settings = methods.settings[opened.preset_name]
        new_notices, new_problems = _check_pair(opened, settings, resolved)
        new_cells, refused = _cells(opened, settings, resolved, weights)
        notices += new_notices
        problems += [*new_problems, *refused]
        cells += new_cells
    for notice in dict.fromkeys(notices):
        progress.notice(notice)
    raise_problems(problems)
    return Sweep(resolved, cells)


def _methods(resolved: ResolvedRequest) -> tuple[_Methods, list[str]]:
    """Return the settings of all methods in the presets of all pairs."""
    classes, broken = _load_methods(resolved)
    problems = broken if resolved.named else []
    settings: dict[str, list[MethodSettings]] = {}
    for name, preset in {one.preset_name: one.preset for one in resolved.pairs}.items():
        found = [attempt(resolve_method, one, preset, resolved.request) for one in classes]
        settings[name] = [value for value, _ in found if value is not None]
        problems = [*problems, *(problem for _, new in found for problem in new)]
    notices = [] if resolved.named else [f"left out: {problem}" for problem in broken]
    return _Methods(settings=settings, notices=notices), problems


def _load_methods(resolved: ResolvedRequest) -> tuple[list[type[Adapter]], list[str]]:
    """Return the classes of the methods, and the problems of those that cannot be loaded."""
    found = [attempt(METHODS.load, name) for name in resolved.methods]
    classes = [method for method, _ in found if method is not None]
    return classes, [problem for _, new in found for problem in new]


def _check_pair(
    opened: OpenedPair, settings: list[MethodSettings], resolved: ResolvedRequest
) -> tuple[list[str], list[str]]:
    """Return the notices and the problems of a pair."""
    request = resolved.request
    network = network_fit(opened)
    problems = [
        *network.problems,
        *source_problems(opened, request, checkpoints_of(request)),
    ]
    notices = list(opened.notices)
    if not network.has_batchnorm and "norm" in [one.adapter.name for one in settings]:
        backbone = opened.preset.model.backbone
        notices.append(f"{backbone} has no BatchNorm layers: norm will equal base")
    return notices, problems


def _weights_hash(request: Request) -> str | None:
    """Return the hash of the file of --source-weights; None without one."""
    path = request.source_weights
    return hash_file(path) if path is not None and path.is_file() else None


def _cells(
    opened: OpenedPair,
    settings: list[MethodSettings],
    resolved: ResolvedRequest,
    weights: str | None,
) -> tuple[list[Cell], list[str]]:
    """Return the cells of a pair, and the reasons why methods that the user named do not apply."""
    fits = [method_fit(opened, one.adapter, resolved.request) for one in settings]
    pairs = list(zip(settings, fits, strict=True))
    refused = [
        f"{opened.pair.name}: {one.adapter.name} {fit.reason}" for one, fit in pairs if fit.reason
    ]
    cells = [
        make_cell(
            opened,
            one,
            request=resolved.request,
            weights=weights,
            control=control,
            protocol=protocol,
            seed=seed,
            reason=fit.reason,
        )
        for seed in resolved.request.seeds
        for one, fit in pairs
        for control in _controls(fit, resolved.request)
        for protocol in resolved.request.protocol
    ]
    return cells, refused if resolved.named else []


def _controls(fit: MethodFit, request: Request) -> tuple[str, ...]:
    """Return the controls of a method; without moves they make no difference."""
    return request.control if fit.moves else ("none",)
