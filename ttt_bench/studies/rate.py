"""The study of learning rates: a grid of rates by steps for each method."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ttt_bench.config.request import Request
from ttt_bench.designs.rates import rate_grid
from ttt_bench.errors import BenchError
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.rates.tables import grid_frame, peaks_table, rate_records, summary_table
from ttt_bench.stats.rate_maps import RateMap, rate_map
from ttt_bench.studies.scores import BASE, last_changes, settings_text
from ttt_bench.studies.tune import with_rate
from ttt_bench.sweep.cell import Cell, make_cells
from ttt_bench.sweep.fit import MethodFit, PairFit
from ttt_bench.sweep.plan import Sweep, fit_pairs
from ttt_bench.sweep.resolve import ResolvedRequest, resolve
from ttt_bench.util.atomic import atomic_file, require_writable
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import short_name

HINT = "choose another report folder with --out"
_FIXED = ("control", "steps")
"""Fields of a request that the study sets itself."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The cells of one method on one pair.

    Attributes:
        fit: the pair.
        method: the method, with the chosen rate and the largest number of steps.
        cells: its cells, those of the frozen control included.
    """

    fit: PairFit
    method: MethodFit
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class RateStudy:
    """The cells of the study.

    Attributes:
        sweep: all cells.
        groups: those of each pair and method that adapts.
    """

    sweep: Sweep
    groups: tuple[Group, ...]


def study_request(request: Request, steps: Sequence[int]) -> Request:
    """Return the request of the study, with Base and the largest number of steps.

    Raises:
        BenchError: the request sets what the study sets itself, or several protocols.
    """
    given = [name for name in _FIXED if name in request.model_fields_set]
    if given:
        raise BenchError(
            f"study rate sets {', '.join(given)} itself; remove the entry from the config file"
        )
    if len(request.protocol) > 1:
        raise BenchError("--protocol: study rate takes one protocol; run it once per protocol")
    return request.model_copy(
        update={
            "methods": (BASE, *request.methods),
            "steps": max(steps, default=None),
        }
    )


@fixed_process()
def plan_rates(
    request: Request, rates: Sequence[float], steps: Sequence[int], progress: Progress
) -> RateStudy:
    """Return the cells of the grid.

    Args:
        request: as `study_request` returns it.
        rates: learning rates of every method, to which its chosen rate is added; empty for one
            rate per factor of ten around the chosen rate, from a thousandth to a thousand times it.
        steps: numbers of steps per batch; empty for 1, a third of the method's steps, and all.
        progress: shows long work, and what the user should know about the plan.

    Raises:
        BenchError: the request cannot be run as it is, or no method of it adapts.
    """
    resolved = resolve(request)
    groups: list[Group] = []
    cells: list[Cell] = []
    for fit in fit_pairs(resolved, progress):
        moving = [one for one in fit.methods if one.moves and one.reason is None]
        others = tuple(one for one in fit.methods if one not in moving)
        own = [_group(fit, one, resolved, rates=rates, steps=steps) for one in moving]
        found = make_cells(replace(fit, methods=others), resolved)
        found += [cell for group in own for cell in group.cells]
        # a seed's source models are trained together
        cells += sorted(found, key=lambda cell: request.seeds.index(cell.seed))
        groups += own
    if not groups:
        raise BenchError("none of the methods has a learning rate to study; name one that adapts")
    return RateStudy(sweep=Sweep(resolved, cells), groups=tuple(groups))


def _group(
    fit: PairFit,
    method: MethodFit,
    resolved: ResolvedRequest,
    *,
    rates: Sequence[float],
    steps: Sequence[int],
) -> Group:
    numbers = sorted(set(steps)) or _usual_steps(method.settings.steps)
    chosen = method.settings.optimiser.lr
    if chosen == 0:
        name = method.settings.adapter.name
        raise BenchError(f"{name}.lr is 0, which is the frozen control; set another rate")
    wanted = sorted({*rates, chosen}) if rates else rate_grid(chosen, 3, 3, per_decade=1)
    stepped = [_with_steps(method, number) for number in numbers]
    varied = [with_rate(one, rate) for one in stepped for rate in wanted]
    frozen = replace(resolved, request=resolved.request.model_copy(update={"control": ("frozen",)}))
    cells = make_cells(replace(fit, methods=tuple(varied)), resolved)
    cells += make_cells(replace(fit, methods=tuple(stepped)), frozen)
    return Group(fit=fit, method=method, cells=tuple(cells))


def _usual_steps(last: int) -> list[int]:
    return sorted({1, max(1, round(last / 3)), last})


def _with_steps(method: MethodFit, steps: int) -> MethodFit:
    return replace(method, settings=replace(method.settings, steps=steps))


def rate_maps(study: RateStudy) -> list[RateMap]:
    """Return the map of every pair and method, from the results of the cells.

    Raises:
        BenchError: a file is damaged, or Base has no scores.
    """
    changes = last_changes(study.sweep.cells, study.sweep.request.results)
    return [_map(group, changes) for group in study.groups]


def _map(group: Group, changes: pd.DataFrame) -> RateMap:
    settings = group.method.settings
    points = pd.DataFrame(
        [
            {"lr": cell.settings.optimiser.lr, "steps": cell.settings.steps, "seed": cell.seed}
            for cell in group.cells
        ],
        index=[cell.hash for cell in group.cells],
    )
    return rate_map(
        points.join(changes),
        pair=group.fit.opened.pair.name,
        method=settings.adapter.name,
        chosen=settings.optimiser.lr,
    )


def write_rates(study: RateStudy, maps: Sequence[RateMap], out: Path) -> list[Path]:
    """Write tables and figures to `out/rates-PAIR/`, and return the paths.

    The files are `rates.md`, `peaks.csv`, `summary.csv`, `grid.csv`, `rates.json`, and
    `METHOD.png` and `METHOD.svg` per method.

    Raises:
        BenchError: the folder cannot be written.
    """
    require_writable(out, HINT)
    subtitle = _subtitle(study)
    paths: list[Path] = []
    for pair in dict.fromkeys(one.pair for one in maps):
        folder = out / short_name(f"rates-{pair.replace(':', '+')}")
        for name, content in _files([one for one in maps if one.pair == pair], subtitle):
            with atomic_file(folder / name, HINT) as temporary:
                temporary.write_bytes(content)
            paths.append(folder / name)
    return paths


def _files(maps: Sequence[RateMap], subtitle: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file of a pair."""
    from ttt_bench.report.figures.drawing import png, svg
    from ttt_bench.report.rates import maps as figures

    peaks, summary = peaks_table(maps, subtitle), summary_table(maps, subtitle)
    yield "rates.md", f"{to_markdown(summary)}\n{to_markdown(peaks)}".encode()
    yield "peaks.csv", to_csv(peaks).encode()
    yield "summary.csv", to_csv(summary).encode()
    yield "grid.csv", grid_frame(maps).to_csv(index=False).encode()
    yield "rates.json", (json.dumps(rate_records(maps), indent=1) + "\n").encode()
    for one in maps:
        shown = figures.figure(one, subtitle)
        yield f"{short_name(one.method)}.png", png(shown)
        yield f"{short_name(one.method)}.svg", svg(shown)


def _subtitle(study: RateStudy) -> str:
    request, first = study.sweep.request, study.groups[0]
    words = [
        f"preset {first.fit.opened.preset_name}",
        request.protocol[0],
        f"hparams {request.hparams}",
        f"data variant {request.data_variant}",
        settings_text(request),
        f"seed {', '.join(map(str, request.seeds))}",
        "each number of steps is a separate run",
    ]
    return "; ".join(filter(None, words))
