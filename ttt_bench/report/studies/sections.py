"""The section of each study in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.analysis.results import Results
from ttt_bench.analysis.studies import StudyResults, study_results
from ttt_bench.report.formats.sections import FurtherSection, Part
from ttt_bench.results.study_files import StudyFile


def study_sections(results: Results, files: Sequence[StudyFile]) -> list[FurtherSection]:
    """Return a section per study that has parts which the comparisons do not show."""
    sections = [_section(study_results(results, file)) for file in files if file.study.show]
    return [section for section in sections if section.parts]


def _section(found: StudyResults) -> FurtherSection:
    study, pair = found.study, found.file.pair
    answers = "; ".join(study.answers)
    subtitle = pair.replace(":", " → ")
    return FurtherSection(
        slug=f"study-{found.file.slug}",
        title=study.title,
        subtitle=f"{subtitle}; answers {answers}" if answers else subtitle,
        parts=tuple(_parts(found)),
    )


def _parts(found: StudyResults) -> Iterator[Part]:
    """Yield the parts that the study shows."""
    yield from ()
