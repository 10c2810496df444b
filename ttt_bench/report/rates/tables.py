"""Tables of a study of learning rates: the peak of each task, and how far peaks are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ttt_bench.designs.rates import DECIMALS, TOLERANCE
from ttt_bench.report.tables import DASH, Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.stats.rate_maps import MARGIN, RateMap

_PEAKS = (
    Column(key="best_lr", head=("best", "rate"), wraps=True),
    Column(key="best_steps", head=("best", "steps"), decimals=0),
    Column(key="best_change_percent", head=("change", "%"), decimals=DECIMALS),
    Column(key="frozen_change_percent", head=("at rate 0", "%"), decimals=DECIMALS),
    Column(key="chosen_change_percent", head=("at the chosen", "rate %"), decimals=DECIMALS),
)
_SUMMARY = (
    Column(key="chosen_lr", head=("chosen", "rate"), wraps=True),
    Column(key="peaks_apart_decades", head=("peaks apart", "decades")),
    Column(key="peaks_apart_steps", head=("peaks apart", "steps"), decimals=0),
    Column(key="not_improved", head=("not", "improved"), wraps=True),
    Column(key="plateau_low", head=("plateau", "from"), wraps=True),
    Column(key="plateau_high", head=("plateau", "to"), wraps=True),
    Column(key="plateau_decades", head=("plateau", "decades")),
)


def peaks_table(maps: Sequence[RateMap], subtitle: str) -> Table:
    """Return the best rate and number of steps of Delta_TTT and of each task, per method.

    Args:
        maps: the maps of one pair.
        subtitle: the choices that all cells share.
    """
    notes = (
        Note(
            "Change", "percent against Base of the same seed, positive if better; mean over seeds"
        ),
        Note(
            "Best",
            f"of all rates and steps, rate 0 included; of the points at most {TOLERANCE} below the "
            "best one the smallest rate, then the fewest steps. Rate 0: updates do not improve it",
        ),
        Note("At rate 0", "the frozen control with the same number of steps"),
        Note("At the chosen rate", "with the largest number of steps"),
        *_without_scores(maps),
    )
    return Table(
        title=f"{maps[0].pair}: peaks over learning rates and steps",
        subtitle=subtitle,
        columns=_PEAKS,
        sections=tuple(map(_peak_section, maps)),
        notes=notes,
        corner="quantity",
    )


def summary_table(maps: Sequence[RateMap], subtitle: str) -> Table:
    """Return per method how far the tasks' peaks are apart, and the plateau of Delta_TTT.

    Args:
        maps: the maps of one pair.
        subtitle: the choices that all cells share.
    """
    notes = (
        Note("Peaks apart", "over the tasks that updates improve; a decade is a factor of ten"),
        Note("Not improved", "tasks whose best rate is 0"),
        Note(
            "Plateau",
            "rates of the grid around the best one whose Delta_TTT with the largest number of "
            f"steps is at most {MARGIN} below it; ≤ or ≥: it reaches the end "
            "of the grid and may be wider",
        ),
    )
    return Table(
        title=f"{maps[0].pair}: where tasks part, and how wide the plateau is",
        subtitle=subtitle,
        columns=_SUMMARY,
        sections=(Section(key="rates", heading="methods", rows=tuple(map(_summary_row, maps))),),
        notes=notes,
    )


def grid_frame(maps: Sequence[RateMap]) -> pd.DataFrame:
    """Return every point of the maps: `pair, method, quantity, lr, steps, change_percent`.

    The change is missing if a seed has no score.
    """
    return pd.DataFrame(
        [
            {
                "pair": one.pair,
                "method": one.method,
                "quantity": quantity,
                "lr": lr,
                "steps": steps,
                "change_percent": one.at(quantity, lr, steps),
            }
            for one in maps
            for quantity in _quantities(one)
            for lr in one.rates
            for steps in one.steps
        ]
    )


def rate_records(maps: Sequence[RateMap]) -> list[dict[str, Any]]:
    """Return one record per method and quantity, in full precision; None for missing numbers."""
    return [_record(one, quantity) for one in maps for quantity in _quantities(one)]


def _record(one: RateMap, quantity: str) -> dict[str, Any]:
    peak, parting, plateau = one.peak(quantity), one.parting(), one.plateau()
    return {
        "pair": one.pair,
        "method": one.method,
        "quantity": quantity,
        "best_lr": peak.lr if peak else None,
        "best_steps": peak.steps if peak else None,
        "best_change_percent": peak.change if peak else None,
        "chosen_lr": one.chosen,
        "chosen_change_percent": _finite(one.at(quantity, one.chosen, one.steps[-1])),
        "peaks_apart_decades": parting.decades,
        "peaks_apart_steps": parting.steps,
        "not_improved": list(parting.not_improved),
        "plateau_low": plateau.low if plateau else None,
        "plateau_high": plateau.high if plateau else None,
        "plateau_decades": plateau.decades if plateau else None,
        "plateau_open": [plateau.open_low, plateau.open_high] if plateau else None,
    }


def _quantities(one: RateMap) -> tuple[str, ...]:
    return tuple(one.changes)


def _peak_section(one: RateMap) -> Section:
    rows = tuple(_peak_row(one, quantity) for quantity in _quantities(one))
    return Section(key=one.method, heading=PROPER_NAMES.of(one.method), rows=rows)


def _peak_row(one: RateMap, quantity: str) -> Row:
    peak = one.peak(quantity)
    chosen = Number(mean=one.at(quantity, one.chosen, one.steps[-1]))
    if peak is None:
        return Row(label=quantity, cells={"chosen_change_percent": chosen})
    return Row(
        label=quantity,
        cells={
            "best_lr": f"{peak.lr:g}",
            "best_steps": Number(mean=peak.steps),
            "best_change_percent": Number(mean=peak.change),
            "frozen_change_percent": Number(mean=one.at(quantity, 0, peak.steps)),
            "chosen_change_percent": chosen,
        },
    )


def _summary_row(one: RateMap) -> Row:
    parting, plateau = one.parting(), one.plateau()
    cells: dict[str, Cell] = {
        "chosen_lr": f"{one.chosen:g}",
        "not_improved": ", ".join(parting.not_improved) or DASH,
    }
    if parting.decades is not None and parting.steps is not None:
        cells["peaks_apart_decades"] = Number(mean=parting.decades)
        cells["peaks_apart_steps"] = Number(mean=parting.steps)
    if plateau is not None:
        cells["plateau_low"] = f"{'≤ ' if plateau.open_low else ''}{plateau.low:g}"
        cells["plateau_high"] = f"{'≥ ' if plateau.open_high else ''}{plateau.high:g}"
        cells["plateau_decades"] = Number(mean=plateau.decades)
    return Row(label=one.method, title=PROPER_NAMES.of(one.method), cells=cells)


def _without_scores(maps: Sequence[RateMap]) -> list[Note]:
    """Return a note on the points of Delta_TTT without a score."""
    frame = grid_frame(maps)
    lacking = frame[frame["change_percent"].isna() & (frame["quantity"] == frame["quantity"][0])]
    points = [
        f"{PROPER_NAMES.of(method)} at {lr:g}, {steps} steps"
        for method, lr, steps in zip(
            lacking["method"], lacking["lr"], lacking["steps"], strict=True
        )
    ]
    text = f"a seed diverged or is missing: {'; '.join(points)}"
    return [Note("No score", text)] if points else []


def _finite(value: float) -> float | None:
    return None if value != value else value
