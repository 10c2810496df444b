"""The cells of declared studies, planned as one sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ttt_bench.config.preset import PRESETS
from ttt_bench.config.request import Request
from ttt_bench.designs.study import Arm, Study
from ttt_bench.errors import BenchError, unknown
from ttt_bench.results.study_files import ArmFile, StudyFile
from ttt_bench.sweep.cell import Cell, make_cells
from ttt_bench.sweep.fit import NetworkFit, PairFit, fit_methods, fit_network
from ttt_bench.sweep.methods import requested_methods
from ttt_bench.sweep.opened import OpenedPair, open_pairs
from ttt_bench.sweep.plan import Sweep
from ttt_bench.sweep.resolve import ResolvedPair, ResolvedRequest, resolve
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.problems import attempt, raise_problems
from ttt_bench.util.process import fixed_process, refuse_replaced_code
from ttt_bench.util.progress import Progress

_FIXED = ("control",)
"""Fields of a request that a study sets itself."""


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """The cells of one arm of a study on one pair."""

    arm: Arm
    cells: tuple[Cell, ...]

    @property
    def hashes(self) -> tuple[str, ...]:
        """Return the hashes of the cells."""
        return tuple(cell.hash for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """A study on one pair.

    Attributes:
        study: the study.
        pair: the pair, without the shifts that the arms add.
        arms: its arms that apply to the pair.
    """

    study: Study
    pair: str
    arms: tuple[PlannedArm, ...]


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """The cells of several studies.

    Attributes:
        sweep: every cell once.
        studies: the studies per pair.
    """

    sweep: Sweep
    studies: tuple[PlannedStudy, ...]


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """An arm of a study on a pair, with the request that gives its cells."""

    study: Study
    arm: Arm
    pair: str
    resolved: ResolvedRequest

    @property
    def place(self) -> str:
        """Return how messages call the arm."""
        return f"study {self.study.name}, {self.arm.label}"


@fixed_process()
def plan_studies(request: Request, studies: Sequence[Study], progress: Progress) -> StudyPlan:
    """Return the cells of studies. A data set that several arms use is opened once.

    An arm that does not apply to a pair, for example because a task is missing, is left out with a
    notice.

    Args:
        request: the pairs, seeds, protocol, preset and further settings of all arms. Its methods
            replace those of studies of all methods.
        studies: studies that measure cells.
        progress: shows long work, and what the user should know about the plan.

    Raises:
        BenchError: an arm cannot be run as it is; one line per problem.
    """
    refuse_replaced_code()
    _check(request)
    base = resolve(request.model_copy(update={"methods": ("all",)}))
    wanted = wanted_arms(request, studies, base)
    opened = _opened(wanted, progress)
    planned: dict[tuple[str, str], list[PlannedArm]] = {}
    problems: list[str] = []
    networks = {key: fit_network(pair, base) for key, pair in opened.items()}
    for one in wanted:
        key = _data_key(one.resolved.pairs[0])
        cells, new = _cells(one, opened[key], networks[key], progress)
        problems += new
        planned.setdefault((one.study.name, one.pair), [])
        if cells:
            planned[one.study.name, one.pair].append(PlannedArm(arm=one.arm, cells=cells))
    raise_problems(problems)
    by_name = {study.name: study for study in studies}
    found = tuple(
        PlannedStudy(study=by_name[name], pair=pair, arms=tuple(arms))
        for (name, pair), arms in planned.items()
    )
    resolved = replace(base, request=request)
    sweep = Sweep(resolved, _distinct(found, request), tuple(studies))
    return StudyPlan(sweep=sweep, studies=found)


def _check(request: Request) -> None:
    given = [name for name in _FIXED if name in request.model_fields_set]
    if given:
        raise BenchError(f"study sets {', '.join(given)} itself; remove it from the config file")
    if len(request.protocol) > 1:
        raise BenchError("--protocol: a study takes one protocol; run it once per protocol")


def wanted_arms(request: Request, studies: Sequence[Study], base: ResolvedRequest) -> list[_Wanted]:
    """Return every arm on every pair.

    Raises:
        BenchError: a method, setting or shift of an arm is invalid.
    """
    found: list[_Wanted] = []
    problems: list[str] = []
    for study in studies:
        for arm in study.all_arms:
            for pair in [one.pair.name for one in base.pairs]:
                place = f"study {study.name}, {arm.label}"
                resolved, new = attempt(resolve, _arm_request(request, study, arm, pair))
                problems += [f"{place}: {text}" for text in (*new, *_unknown_presets(arm))]
                if resolved is not None and _belongs(arm, resolved):
                    found.append(_Wanted(study=study, arm=arm, pair=pair, resolved=resolved))
    raise_problems(problems)
    return found


def _unknown_presets(arm: Arm) -> list[str]:
    return [str(unknown("preset", name, PRESETS)) for name in arm.presets if name not in PRESETS]


def _belongs(arm: Arm, resolved: ResolvedRequest) -> bool:
    """Return whether an arm belongs to the preset of its pair."""
    return not arm.presets or resolved.pairs[0].preset_name in arm.presets


def _arm_request(request: Request, study: Study, arm: Arm, pair: str) -> Request:
    methods = study.methods_of(arm)
    return request.model_copy(
        update={
            "methods": request.methods if methods == ("all",) else methods,
            "pair": (f"{pair}+{arm.shift}" if arm.shift else pair,),
            "control": study.controls,
            "set": {**request.set, **arm.set},
        }
    )


def _opened(wanted: Sequence[_Wanted], progress: Progress) -> dict[str, OpenedPair]:
    """Map `_data_key` to every distinct pair with its data."""
    pairs = {_data_key(one.resolved.pairs[0]): one.resolved.pairs[0] for one in wanted}
    together = replace(wanted[0].resolved, pairs=tuple(pairs.values()))
    opened, problems = open_pairs(together, progress)
    raise_problems(problems)
    return dict(zip(pairs, opened, strict=True))


def _data_key(pair: ResolvedPair) -> str:
    """Return a hash of everything that decides a pair's data and network."""
    labels = pair.labels.record() if pair.labels else None
    preset = pair.preset.model_dump(mode="json", exclude={"methods"})
    return hash_of([pair.pair.name, labels, pair.preset_name, preset])


def _cells(
    one: _Wanted, opened: OpenedPair, network: NetworkFit, progress: Progress
) -> tuple[tuple[Cell, ...], list[str]]:
    """Return the cells of an arm, none if it does not apply to the pair, and problems."""
    methods, problems = requested_methods(one.resolved)
    settings = methods.settings.get(opened.preset_name, [])
    # methods that do not apply are not problems of a study
    fit = fit_methods(opened, settings, one.resolved, network)
    problems = [f"{one.place}: {problem}" for problem in (*problems, *fit.problems)]
    if problems:
        return (), problems
    kept, notices = _applicable(one, fit)
    for notice in dict.fromkeys((*methods.notices, *notices, *fit.notices)):
        progress.notice(notice)
    return tuple(make_cells(kept, one.resolved)), []


def _applicable(one: _Wanted, fit: PairFit) -> tuple[PairFit, list[str]]:
    """Return the methods of an arm that apply to its pair, and notices about the others.

    The pair keeps no method if only Base applies to an arm of other methods.
    """
    left_out = {m.settings.adapter.name: m.reason for m in fit.methods if m.reason}
    notices = [f"{one.place}: left out, {name} {reason}" for name, reason in left_out.items()]
    kept = tuple(m for m in fit.methods if not m.reason)
    if left_out and not any(m.moves for m in kept):
        kept = ()
    return replace(fit, methods=kept), notices


def _distinct(studies: Sequence[PlannedStudy], request: Request) -> list[Cell]:
    """Return the cells of all studies, each once; a seed's source models are trained together."""
    found = {
        cell.hash: cell for study in studies for planned in study.arms for cell in planned.cells
    }
    return sorted(found.values(), key=lambda cell: request.seeds.index(cell.seed))


def study_files(plan: StudyPlan) -> Iterator[StudyFile]:
    """Yield the record of each study of a plan, which the report reads."""
    for one in plan.studies:
        cells = [cell for planned in one.arms for cell in planned.cells]
        if cells:
            yield StudyFile(
                study=one.study,
                pair=one.pair,
                key=_key(one, cells[0], plan.sweep.request),
                arms=tuple(ArmFile(label=own.arm.label, cells=own.hashes) for own in one.arms),
            )


def _key(one: PlannedStudy, cell: Cell, request: Request) -> str:
    """Return a hash that is equal for runs of a study that differ in their seeds alone."""
    shared: dict[str, Any] = {
        name: cell.identity[name] for name in ("preset", "protocol", "hparams", "data_variant")
    }
    own = request.model_dump(mode="json", include={"set", "stream", "label_space", "steps"})
    return hash_of([one.study.name, one.pair, shared, own])
