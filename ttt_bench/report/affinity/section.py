"""The section on the affinity of tasks: the table of gaps, its figure and all entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ttt_bench.analysis.affinity import AFTER, BEFORE, entries, gaps, groups
from ttt_bench.report.formats.sections import Kind, Part, ReportSection
from ttt_bench.report.tables import Column, Note, Number, Row, Section, Table
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames

TITLE = "Affinity of tasks (uses target labels)"
ANSWERS = "S4T, Figure 1"
HEADING = "gap to a model fine-tuned on the target with its labels"
CAPTION = (
    "Uses target labels. Gap between the task affinity of each model and that of a model "
    "fine-tuned on the target: before adapting (hollow circle) and after it (filled square), mean "
    "over seeds. Bars: sample standard deviation over seeds."
)
NOTES = (
    Note(
        "Labels",
        "all numbers use labels of the target: the losses of the tasks, and the fine-tuned model. "
        "They describe what adapting does and do not rank methods",
    ),
    Note(
        "Affinity",
        "Z[i, j] = 1 - L_j(theta - eta * grad L_i(theta)) / L_j(theta): the share by which a step "
        "on the loss of task i lowers that of task j on the same batch (Fifty et al., NeurIPS "
        "2021). theta: the backbone; the heads stay fixed; mean over the target's batches",
    ),
    Note(
        "Gap",
        "the mean absolute difference between the entries of two affinity matrices that are not "
        "on the diagonal, in percent of the loss. A smaller gap after adapting means that tasks "
        "relate more as they do in the fine-tuned model",
    ),
    Note(
        "After",
        "after one online pass over the target, in the normalisation mode in which the method "
        "predicts. The other matrices use running statistics, so that the change of a method that "
        "predicts with batch statistics, such as Norm, includes that of the mode",
    ),
    Note(
        "Published",
        "S4T's Figure 1 prints neither numbers nor a formula, so this definition is ours",
    ),
)

ALT = "Gap of the task affinity before and after adapting, per method"


def affinity_sections(
    found: Sequence[Measurement], names: MethodNames = PROPER_NAMES
) -> list[ReportSection]:
    """Return a section per pair, preset, hyperparameters and data variant.

    Args:
        found: the measurements.
        names: the printed names of rows.
    """
    return [
        _section(own, f"affinity-{number}" if number > 1 else "affinity", names)
        for number, own in enumerate(groups(found).values(), start=1)
    ]


def _section(found: Sequence[Measurement], slug: str, names: MethodNames) -> ReportSection:
    # matplotlib takes seconds to import: a report without affinities does without it
    from ttt_bench.report.affinity.figure import gap_figure
    from ttt_bench.report.figures.drawing import drawn

    every = entries(found)
    values = gaps(every)
    table = gap_table(found, values, names)
    return ReportSection(
        kind=Kind.AFFINITY,
        slug=slug,
        title=TITLE,
        subtitle=f"{table.subtitle}; answers {ANSWERS}",
        parts=(
            Part(
                name="gap",
                definition="The mean absolute difference between the affinity of tasks in each "
                "model and in a model fine-tuned on the target with its labels.",
                table=table,
                figure=drawn(gap_figure(values, names), f"{slug}-gap", ALT),
                caption=CAPTION,
                alt=ALT,
            ),
            Part(
                name="entries",
                definition="Every entry of the affinity matrices.",
                csv=every.to_csv(index=False),
            ),
        ),
        command=f"ttt-bench study affinity --pair {found[0].manifest['pair']}",
    )


def gap_table(
    found: Sequence[Measurement], values: pd.DataFrame, names: MethodNames = PROPER_NAMES
) -> Table:
    """Return the table of gaps, means over seeds.

    Args:
        found: the measurements of one section.
        values: their gaps, as `analysis.affinity.gaps` returns them.
        names: the printed names of rows.
    """
    about = found[0].manifest
    pair = str(about["pair"]).replace(":", " → ")
    columns = [
        Column(key="gap_before_percent", head=("gap", "before"), decimals=4),
        Column(key="gap_after_percent", head=("gap", "after"), decimals=4),
        Column(key="gap_change_percent", head=("change", "%"), higher_is_better=False),
        Column(key="gap_before_with_diagonal_percent", head=("before",), printed=False),
        Column(key="gap_after_with_diagonal_percent", head=("after",), printed=False),
    ]
    rows = tuple(_row(str(label), own) for label, own in values.groupby("label", sort=False))
    rows = tuple(replace(row, title=names.of(row.label)) for row in rows)
    return Table(
        title=TITLE,
        subtitle=f"{pair}, preset {about['preset']}",
        columns=tuple(columns),
        sections=(Section(key="gap", heading=HEADING, rows=rows),),
        notes=(*NOTES, _sizes(about), _seeds(values)),
    )


def _sizes(about: dict[str, object]) -> Note:
    return Note(
        "Sizes",
        f"{about['images']} target images; fine-tuning on the same images from Base's source "
        f"model, {about['iterations']} iterations; eta is such that a step has the norm "
        f"{about['step']:g} * |theta|",
    )


def _seeds(values: pd.DataFrame) -> Note:
    seeds = ", ".join(str(seed) for seed in sorted(values["seed"].unique()))
    return Note("Seeds", f"{seeds}; mean and sample standard deviation over seeds")


def _row(label: str, own: pd.DataFrame) -> Row:
    columns = {
        "gap_before_percent": 100 * own[BEFORE],
        "gap_after_percent": 100 * own[AFTER],
        "gap_change_percent": 100 * (own[AFTER] / own[BEFORE] - 1),
        "gap_before_with_diagonal_percent": 100 * own[f"{BEFORE}_all"],
        "gap_after_with_diagonal_percent": 100 * own[f"{AFTER}_all"],
    }
    return Row(
        label=label,
        cells={
            key: Number(mean=float(numbers.mean()), sd=_spread(numbers))
            for key, numbers in columns.items()
        },
    )


def _spread(values: pd.Series) -> float | None:
    return float(values.std()) if len(values) > 1 else None
