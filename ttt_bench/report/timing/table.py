"""The table of inference times, next to those that S4T prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ttt_bench.report.formats.sections import Kind, Part, ReportSection
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.report.timing.shape import REFERENCE, Shape, ratios, seconds_of, shapes
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames
from ttt_bench.results.published import ARCHITECTURE, TIMING_DEVICE, published_seconds
from ttt_bench.results.timings import (
    NSTEPS,
    PHASES,
    PREDICT,
    RESET,
    STEP,
    groups,
    measured_steps,
    whole,
)
from ttt_bench.stats.comparison import method_rank

HEADS = {
    PREDICT: ("predict", "s"),
    STEP: ("one step", "s"),
    NSTEPS: ("all steps", "s"),
    RESET: ("reset", "s"),
}
DEFINITION = (
    "Median seconds per batch of a prediction, of one adaptation step, of all steps and of the "
    "reset, measured on random images with untrained weights."
)
SHORTER = "*"
"""Mark of times that are calculated from fewer steps."""
UNSETTLED = "~"
"""Mark of times whose quartiles are not within 5 % of the median."""


def timing_sections(
    found: Sequence[Measurement], names: MethodNames = PROPER_NAMES
) -> list[ReportSection]:
    """Return a section per group of timings on one device and of one size.

    Args:
        found: the timings.
        names: the printed names of methods.
    """
    sections = []
    for number, own in enumerate(groups(found).values()):
        ordered = sorted(own, key=lambda one: method_rank(str(one.manifest["method"])))
        suffix = f"-{number + 1}" if number else ""
        sections.append(_section(ordered, f"timing{suffix}", names))
    return sections


def _section(found: Sequence[Measurement], slug: str, names: MethodNames) -> ReportSection:
    subtitle = _subtitle(found[0])
    table = timing_table(found, subtitle, names)
    return ReportSection(
        kind=Kind.TIMES,
        slug=slug,
        title=table.title,
        subtitle=f"{subtitle}; answers S4T, Table 6",
        parts=(Part(name="timing", definition=DEFINITION, table=table),),
        command=_command(found),
    )


def _command(found: Sequence[Measurement]) -> str:
    methods = ",".join(str(one.manifest["method"]) for one in found)
    return f"ttt-bench time --methods {methods} --preset {found[0].manifest['preset']}"


def _subtitle(one: Measurement) -> str:
    about = one.manifest
    height, width = about["image"]
    return (
        f"{about['processor'] or about['device']}, {about['threads']} threads, "
        f"{about['precision']}; {_network(about)}, batches of {about['batch']} images of "
        f"{height}x{width}, {len(about['channels'])} tasks"
    )


def _network(about: Mapping[str, Any]) -> str:
    """Return architecture and backbone; the former is missing in timings of earlier versions."""
    return f"{_architecture(about)} on {about['backbone']}"


def _architecture(about: Mapping[str, Any]) -> str:
    return str(about.get("architecture", ARCHITECTURE))


def timing_table(
    found: Sequence[Measurement], subtitle: str, names: MethodNames = PROPER_NAMES
) -> Table:
    """Return the table of timings on one device.

    Args:
        found: one measurement per method.
        subtitle: device and sizes.
        names: the printed names of methods.
    """
    published = published_seconds(_architecture(found[0].manifest))
    every = [whole(one) for one in found]
    measured = {phase for own in every for phase in own}
    phases = [phase for phase in PHASES if phase in measured]
    return Table(
        title="Inference time",
        subtitle=subtitle,
        columns=tuple(_columns(found, phases, names.of(REFERENCE))),
        sections=(
            Section(
                key="measured",
                heading="median seconds per batch",
                rows=tuple(_titled(_row(one, found, published), names) for one in found),
            ),
        ),
        notes=tuple(_notes(found, shapes(found, published), names)),
    )


def _titled(row: Row, names: MethodNames) -> Row:
    return replace(row, title=names.of(row.label))


def _columns(
    found: Sequence[Measurement], phases: Sequence[str], reference: str
) -> Iterator[Column]:
    for phase in phases:
        yield Column(key=f"{phase}_seconds", head=HEADS[phase], decimals=3, intervals=True)
    yield Column(key="published_seconds", head=("published", "s"), decimals=4)
    for phase in phases:
        if phase != RESET:
            head = (HEADS[phase][0], f"/ {reference}")
            yield Column(key=f"{phase}_over_{REFERENCE}", head=head, secondary=True)
    yield Column(
        key=f"published_over_{REFERENCE}", head=("published", f"/ {reference}"), secondary=True
    )
    yield Column(key="step_gflop", head=("GFLOP", "of a step"), decimals=1, secondary=True)
    yield Column(key="step_gflop_per_second", head=("GFLOP/s",), decimals=1, secondary=True)
    yield Column(
        key="share_of_product_percent",
        head=("of a matrix", "product %"),
        decimals=1,
        secondary=True,
    )
    if any(one.manifest["peak_memory_bytes"] for one in found):
        yield Column(key="peak_memory_gib", head=("peak memory", "GiB"))
    yield Column(key="parameters_millions", head=("parameters", "M"), secondary=True)
    yield Column(key="moved_millions", head=("moved", "M"), secondary=True)


def _row(one: Measurement, found: Sequence[Measurement], published: Mapping[str, float]) -> Row:
    about, method = one.manifest, str(one.manifest["method"])
    cells: dict[str, Cell] = {f"{phase}_seconds": cell for phase, cell in phase_cells(one).items()}
    for phase in (PREDICT, STEP, NSTEPS):
        own = ratios(seconds_of(found, phase))
        cells |= _cell(f"{phase}_over_{REFERENCE}", own.get(method))
    cells |= _cell("published_seconds", published.get(method))
    cells |= _cell(f"published_over_{REFERENCE}", ratios(published).get(method))
    times, flops = whole(one), about["step_flops"]
    speed = flops / times.get(STEP, times[PREDICT])
    peak = about["peak_memory_bytes"]
    cells |= _cell("step_gflop", flops / 1e9) | _cell("step_gflop_per_second", speed / 1e9)
    cells |= _cell("share_of_product_percent", 100 * speed / about["product_flops"])
    cells |= _cell("peak_memory_gib", peak / 2**30 if peak else None)
    cells |= _cell("parameters_millions", about["parameters"]["total"] / 1e6)
    cells |= _cell("moved_millions", about["parameters"]["moved"] / 1e6)
    return Row(label=method, cells=cells)


def phase_cells(one: Measurement) -> dict[str, Cell]:
    """Map each phase to its median, with the quartiles as the interval."""
    seconds, shorter = whole(one), _is_shorter(one)
    cells: dict[str, Cell] = {}
    for phase, q1, q3, settled in zip(
        one.rows["phase"], one.rows["q1"], one.rows["q3"], one.rows["settled"], strict=True
    ):
        calculated = shorter and phase == NSTEPS
        mark = SHORTER * calculated + UNSETTLED * (not settled)
        spread = None if calculated else (float(q1), float(q3))
        cells[phase] = Number(mean=seconds[phase], interval=spread, mark=mark)
    return cells


def _is_shorter(one: Measurement) -> bool:
    """Return whether fewer steps were measured than the method has."""
    return 0 < measured_steps(one) < int(one.manifest["steps"])


def _cell(key: str, value: float | None) -> dict[str, Cell]:
    return {} if value is None else {key: Number(mean=value)}


def _notes(
    found: Sequence[Measurement], shown: Sequence[Shape], names: MethodNames
) -> Iterator[Note]:
    phases = "; ".join(f"{HEADS[phase][0]}: {words}" for phase, words in PHASES.items())
    yield Note(
        "Phases",
        f"{phases}. Median over repetitions, in brackets the quartiles. Random images and "
        "untrained weights, on which times do not depend",
        ("Medians; in brackets the quartiles",),
    )
    yield from mark_notes(found, names)
    yield from _published_notes(shown, names.of(REFERENCE))
    yield Note(
        "FLOPs",
        "of one step, forward and backward, as torch.utils.flop_counter counts them: convolutions, "
        "matrix products and attention. The share is that of a product of two large matrices in "
        f"single precision on this device ({found[0].manifest['product_flops'] / 1e9:.0f} GFLOP/s)",
    )
    if not any(one.manifest["peak_memory_bytes"] for one in found):
        yield Note("Memory", "the peak is measured on GPUs only")
    yield from _machine_notes(found)


def mark_notes(found: Sequence[Measurement], names: MethodNames = PROPER_NAMES) -> Iterator[Note]:
    """Yield the notes that explain the marks of times."""
    shorter = [one for one in found if _is_shorter(one)]
    if shorter:
        which = ", ".join(
            f"{names.of(one.manifest['method'])} {measured_steps(one)} of {one.manifest['steps']}"
            for one in shorter
        )
        yield Note(
            SHORTER, f"calculated from fewer steps, because all steps take too long here: {which}"
        )
    if any(not one.rows["settled"].all() for one in found):
        yield Note(UNSETTLED, "a quartile differs from the median by more than 5 %")


def _published_notes(shown: Sequence[Shape], reference: str) -> Iterator[Note]:
    yield Note(
        "Published",
        f"S4T, Table 6: seconds on an {TIMING_DEVICE} in batches of 8, ResNet-50; NC-TTT on "
        "MTI-Net: Table 3. The paper does not define its inference time, and another device has "
        f"another scale, so that only ratios to {reference} can be compared",
    )
    if not shown:
        text = f"too few methods with published times were measured, or not {reference}"
        yield Note("Nearest phase", text)
        return
    words = "; ".join(
        f"{HEADS[one.phase][0]}: ratios differ by a factor of {one.distance:.2f}, rank correlation "
        f"{one.rank_correlation:.2f}"
        for one in shown
    )
    yield Note(
        "Nearest phase",
        f"{HEADS[shown[0].phase][0]} is nearest to the published column in shape, of "
        f"{shown[0].methods} methods. {words} (factor: root mean square over the methods; "
        "correlation: Spearman)",
    )


def _machine_notes(found: Sequence[Measurement]) -> Iterator[Note]:
    clocks = dict.fromkeys(one.manifest["clock_mhz"] for one in found)
    words = ", ".join("unknown" if clock is None else f"{clock:.0f} MHz" for clock in clocks)
    versions = found[0].manifest["versions"]
    used = ", ".join(f"{name} {versions[name]}" for name in ("torch", "timm") if name in versions)
    yield Note("Machine", f"clock as found: {words}; {used}")
