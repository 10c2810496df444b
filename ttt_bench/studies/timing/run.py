"""Time methods one after the other, and store each measurement when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from ttt_bench.adapt.device import find_device
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.preset import default_preset, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.data.pair import find_pair
from ttt_bench.errors import BenchError, unknown
from ttt_bench.model.architecture import resolved_model
from ttt_bench.registry import GROUPS, METHODS, expanded
from ttt_bench.results import measurements
from ttt_bench.results.timings import KIND, NSTEPS, PREDICT, RESET, STEP
from ttt_bench.studies.timing.machine import machine, product_speed
from ttt_bench.studies.timing.stopwatch import Clock, Timed, clock_of, measure
from ttt_bench.studies.timing.subject import Sizes, Subject, counts, make_subject
from ttt_bench.train.chain import method_code
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.hashing import hash_of, versions
from ttt_bench.util.problems import attempt, raise_problems
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress

PAIR = "taskonomy:nyud"
"""The pair of S4T's Table 6, whose preset is paper."""


@dataclass(frozen=True, kw_only=True)
class TimingPlan:
    """The timings of a request.

    Attributes:
        request: the request.
        sizes: the sizes.
        methods: the methods with their settings.
        keys: method -> a hash of everything that its times depend on.
    """

    request: Request
    sizes: Sizes
    methods: tuple[MethodSettings, ...]
    keys: dict[str, str]

    def missing(self) -> list[MethodSettings]:
        """Return the methods without a stored measurement."""
        results = self.request.results
        return [
            one
            for one in self.methods
            if not measurements.is_stored(
                results, KIND, name=one.adapter.name, key=self.keys[one.adapter.name]
            )
        ]


@fixed_process()
def plan_timings(request: Request) -> TimingPlan:
    """Return the timings of a request; the pair gives tasks and sizes, and no data are read.

    Raises:
        BenchError: a name or a setting is invalid; one line per problem.
    """
    named = "pair" in request.model_fields_set
    if named and len(request.pair) > 1:
        raise BenchError("--pair: give one pair, whose tasks and sizes are timed")
    pair = find_pair(request.pair[0] if named else PAIR, request.data_root)
    preset_name = request.preset or default_preset(embedded=pair.embedded)
    preset = resolve_preset(preset_name, request.set)
    preset = preset.model_copy(update={"model": resolved_model(preset.model)})
    labels = pair.label_space(request.label_space, {})
    classes = len(labels.classes) if labels is not None else 0
    sizes = Sizes(pair=pair, preset_name=preset_name, preset=preset, classes=classes)
    methods = _methods(request, sizes)
    device = find_device(request.device)
    keys = {one.adapter.name: _key(one, sizes, device) for one in methods}
    return TimingPlan(request=request, sizes=sizes, methods=tuple(methods), keys=keys)


def _methods(request: Request, sizes: Sizes) -> list[MethodSettings]:
    names = expanded(request.methods)
    problems = [
        str(unknown("method", name, (*METHODS.names(), *GROUPS)))
        for name in names
        if name not in METHODS.names()
    ]
    raise_problems(problems)
    found = []
    for name in names:
        settings, new = attempt(_settings, name, request, sizes)
        problems += new
        found += [settings] if settings is not None else []
    raise_problems(problems)
    return found


def _settings(name: str, request: Request, sizes: Sizes) -> MethodSettings:
    return resolve_method(METHODS.load(name), sizes.preset, request)


def _key(one: MethodSettings, sizes: Sizes, device: torch.device) -> str:
    about = _about(one, sizes)
    # the clock as found differs from run to run
    where = {name: value for name, value in machine(device).items() if name != "clock_mhz"}
    return hash_of([about, where, versions()])


def _about(one: MethodSettings, sizes: Sizes) -> dict[str, Any]:
    """Return everything about a method and the sizes that its times depend on."""
    return {
        "method": one.adapter.name,
        "code": method_code(one.adapter),
        "options": one.adapter.options.model_dump(mode="json"),
        "optimiser": one.optimiser.model_dump(mode="json"),
        "steps": one.steps,
        **sizes.record(one.adapter),
    }


@fixed_process()
def run_timings(plan: TimingPlan, progress: Progress, limit: float) -> dict[str, str]:
    """Time the methods that have no stored measurement, and store each one when it is done.

    Args:
        plan: the timings.
        progress: shows one bar.
        limit: seconds after which a phase of a method is no longer repeated.

    Returns:
        Method -> why it could not be timed.

    Raises:
        BenchError: the device is not available, or the results folder cannot be written.
    """
    missing, failed = plan.missing(), {}
    if not missing:
        return {}
    device = find_device(plan.request.device)
    flops, product = product_speed(device, limit)
    speed = {"product_flops": flops, "product_seconds": product.median}
    with progress.bar("timing", len(missing)) as bar:
        for one in missing:
            name = one.adapter.name
            try:
                rows, extra = _timed(make_subject(one, plan.sizes, device), device, limit)
            except Exception as error:  # a plugin may raise anything, and must not stop the others
                failed[name] = describe(error, type(one.adapter))
            else:
                manifest = {**_about(one, plan.sizes), **machine(device), **speed, **extra}
                manifest |= {"versions": versions(), "parameters": counts(one, plan.sizes)}
                measurements.write(
                    plan.request.results,
                    KIND,
                    name=name,
                    key=plan.keys[name],
                    manifest=manifest,
                    rows=rows,
                    notice=progress.notice,
                )
            bar.advance(note=name)
    return failed


def _timed(
    subject: Subject, device: torch.device, limit: float
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the times of a method's phases, and what else was measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rows = pd.DataFrame([_row(*phase) for phase in phases(subject, clock_of(device), limit)])
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return rows, {
        "peak_memory_bytes": peak,
        "step_flops": subject.step_flops(),
    }


def phases(subject: Subject, clock: Clock, limit: float) -> Iterator[tuple[str, int, Timed]]:
    """Yield phase, steps and time of each phase of a method; one without moves has no steps.

    All steps with predictions are measured if at least five repetitions fit into the limit, and
    otherwise as many steps as do.
    """
    yield PREDICT, 0, measure(subject.predict, clock, limit)
    if not subject.moves:
        return
    step = measure(subject.step, clock, limit)
    yield STEP, 1, step
    fitting = max(1, int(limit / 5 / step.median))
    steps = min(subject.steps, fitting)
    yield NSTEPS, steps, measure(lambda: subject.run(steps), clock, limit)
    yield RESET, 0, measure(subject.reset, clock, limit)


def _row(phase: str, steps: int, timed: Timed) -> dict[str, Any]:
    return {"phase": phase, "steps": steps, **asdict(timed)}
