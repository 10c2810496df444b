"""The section of each study in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.analysis.results import Results
from ttt_bench.analysis.studies import StudyResults, study_results
from ttt_bench.report.formats.sections import Kind, Part, ReportSection
from ttt_bench.report.studies.cost import cost_table
from ttt_bench.report.studies.table import arms_table
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.study_files import StudyFile

CURVE_CAPTION = (
    "Scores at the last step. Lines: means over seeds; bars: 95 % intervals, which end at the edge "
    "of a panel if they are much longer than the curves. Dashed black: Base, which does not adapt. "
    "Hollow squares: published numbers, which are at the oracle step. Methods are slightly apart."
)


def study_sections(
    results: Results, files: Sequence[StudyFile], timings: Sequence[Measurement]
) -> list[ReportSection]:
    """Return a section per study that has parts which the comparisons do not show."""
    done = frozenset(results.cells.loc[results.cells["state"] == "done", "config"])
    shown = [study_results(results, file) for file in files if file.study.show]
    sections = [_section(found, done, timings) for found in shown]
    return [section for section in sections if section.parts]


def _section(
    found: StudyResults, done: frozenset[str], timings: Sequence[Measurement]
) -> ReportSection:
    """Return the section of a study; `done` are the hashes of all cells with numbers."""
    study, pair = found.study, found.file.pair
    answers = "; ".join(study.answers)
    subtitle = pair.replace(":", " → ")
    return ReportSection(
        kind=Kind.STUDY,
        slug=f"study-{found.file.slug}",
        title=study.title,
        subtitle=f"{subtitle}; answers {answers}" if answers else subtitle,
        parts=tuple(_parts(found, timings)),
        command=f"ttt-bench study {study.name} --pair {pair}",
        cells=found.file.cells,
        done=found.file.cells & done,
    )


def _parts(found: StudyResults, timings: Sequence[Measurement]) -> Iterator[Part]:
    """Yield the parts that the study shows."""
    if "table" in found.study.show:
        yield Part(
            name="arms",
            definition="Scores and Delta_TTT of each arm of the study, which differ in what the "
            "study varies.",
            table=arms_table(found),
        )
    if "cost" in found.study.show:
        yield Part(
            name="cost",
            definition="Parameters of the methods of each arm, and their times, if measured.",
            table=cost_table(found, timings),
        )
    if "curve" in found.study.show:
        yield from _curve(found)
    if "losses" in found.study.show:
        yield from _losses(found)


def _curve(found: StudyResults) -> Iterator[Part]:
    # matplotlib takes seconds to import: tables for a console do without it
    from ttt_bench.report.figures.drawing import drawn
    from ttt_bench.report.studies import curves

    frame = curves.axis_frame(found)
    if frame["value"].nunique() < 2:
        return
    assert found.study.axis is not None
    alt = f"Score of every task and Delta_TTT over the {found.study.axis.name}"
    yield Part(
        name="curve",
        heading=f"Scores over the {found.study.axis.name}",
        definition=f"The scores at the last step for each value of the {found.study.axis.name}.",
        figure=drawn(curves.axis_figure(found, frame), f"study-{found.file.slug}-curve", alt),
        caption=CURVE_CAPTION,
        alt=alt,
        csv=frame.to_csv(index=False),
    )


def _losses(found: StudyResults) -> Iterator[Part]:
    from ttt_bench.report.figures.drawing import drawn
    from ttt_bench.report.studies import losses

    frame = losses.losses_frame(found)
    if frame.empty:
        return
    assert found.study.axis is not None
    alt = f"Loss over the {found.study.axis.name}, before and after adapting"
    yield Part(
        name="losses",
        definition="The adaptation loss on the target, before and after adapting, for each value "
        f"of the {found.study.axis.name}.",
        table=losses.losses_table(found, frame),
        figure=drawn(losses.losses_figure(found, frame), f"study-{found.file.slug}-losses", alt),
        caption=losses.CAPTION,
        alt=alt,
    )
