"""The section of a comparison: its parts in the order of the page.

`PARTS` maps the name of each part to the function that builds it. The name is the stem of the
part's files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import attribution_table, classes, main_table, more_table, sync_table
from ttt_bench.report.across.ranks import ranks_table
from ttt_bench.report.answer import answer
from ttt_bench.report.columns import quantity_key
from ttt_bench.report.formats.sections import Drawn, Kind, Part, ReportSection
from ttt_bench.report.intervals import intervals_csv
from ttt_bench.report.marks.conditions import with_conditions
from ttt_bench.report.marks.contract import marked
from ttt_bench.report.parts.commands import run_command
from ttt_bench.report.provenance import provenance
from ttt_bench.report.rules.table import rules_table
from ttt_bench.report.selection.rows import EVERY_ROW, ShownRows
from ttt_bench.report.settings import hyperparameters, parameters
from ttt_bench.report.tables import Table
from ttt_bench.report.truth import Truth, truth_of
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.summary import curve_frame

RANKING_CAPTION = (
    "Delta_TTT at the fixed step and its paired difference to Norm, with 95 % intervals. Filled "
    "marks: shown to differ from the line at 0, which is Base on the left and Norm on the right, "
    "after Holm's correction over the rows. Hollow marks: not shown to differ. An interval that "
    "ends with an arrow is longer than the panel."
)
CURVES_CAPTION = (
    "Lines: means over seeds. Bands, which are drawn for at most four lines: one sample standard "
    "deviation. Dashed: Base, which does not adapt. Point at a line to see its values, or go "
    "through them with the arrow keys; click on a name of the legend to hide its line."
)
SYNC_CAPTION = (
    "Each task from its worst (0) to its best score (1), mean over seeds. Filled marks: mean over "
    "seeds of the step with the best score, on the curve and in the task's lane below; ticks: each "
    "seed. Hollow marks at step 0: better before adapting than at any later step, in most seeds. "
    "Flat curves are left out."
)
SYNC_ALT = "Curve and peak of every task over adaptation steps, one panel per method"
PARTS_CAPTION = (
    "Parts of the change against Base at the fixed step. Bars: means over seeds, gains to the "
    "right of 0 and losses to the left. Diamonds: their sum, with its 95 % interval, "
    "which ends with an arrow if it is longer than the panel."
)


@dataclass(frozen=True)
class Content:
    """What the parts of a comparison are built from.

    Attributes:
        evidence: its estimates.
        numbers: its numbers for other comparisons; None if it has no numbers.
        rows: which of its rows are shown.
    """

    evidence: Evidence
    numbers: Numbers | None
    rows: ShownRows = EVERY_ROW

    @property
    def comparison(self) -> Comparison:
        """Return the comparison."""
        return self.evidence.comparison

    @property
    def drawn(self) -> Comparison:
        """Return the comparison with the rows that figures show."""
        return self.rows.drawn(self.comparison)

    def figure_name(self, part: str) -> str:
        """Return the name of a part's figure, which no other figure of the page has."""
        return f"{self.comparison.slug}-{part}"

    @cached_property
    def truth(self) -> Truth:
        """Return the facts about the target."""
        return truth_of(self.comparison)


def comparison_section(content: Content, names: Collection[str] = ()) -> ReportSection:
    """Return the section of a comparison.

    A comparison without numbers has the main table only, with the reasons.

    Args:
        content: what its parts are built from.
        names: the names of the parts that are shown; empty: all.
    """
    comparison = content.comparison
    available = ["main"] if content.numbers is None else PARTS
    wanted = [name for name in available if not names or name in names]
    built = [part for name in wanted for part in _several(PARTS[name](content))]
    return ReportSection(
        kind=Kind.COMPARISON,
        slug=comparison.slug,
        title=comparison.title,
        subtitle=comparison.subtitle,
        parts=tuple(built),
        summary=answer(content.evidence),
        command=run_command(comparison),
        cells=frozenset(comparison.cells["config"]),
        done=frozenset(comparison.done["config"]),
        provenance=provenance(comparison.cells, comparison.names),
    )


def _several(built: Part | tuple[Part, ...] | None) -> tuple[Part, ...]:
    if built is None:
        return ()
    return built if isinstance(built, tuple) else (built,)


def scores(content: Content) -> Table:
    """Return the main table of a comparison, with its marks."""
    truth = content.truth
    table = main_table.build(content.evidence, truth.constants, truth.pixels).table
    return _marked(table, content)


def curves_caption(comparison: Comparison) -> str:
    """Return the caption of the curves."""
    protocol = comparison.protocol
    if protocol.starts_from_source:
        return CURVES_CAPTION
    return f"{CURVES_CAPTION} {protocol.name.capitalize()}: {protocol.step_zero}."


def _marked(table: Table, content: Content) -> Table:
    """Return the table with the marks and notes that all tables of a comparison have."""
    comparison = content.comparison
    return content.rows.of(marked(with_conditions(table, comparison), comparison), comparison)


def _main(content: Content) -> Part:
    found = len(content.comparison.rows)
    return Part(
        name="main",
        heading="Scores and Delta_TTT",
        definition="The primary metric of every task and Delta_TTT, the mean relative change "
        "against Base in percent, over the target's images. Each section of the table reads the "
        "scores at the step that one rule selects.",
        table=scores(content),
        attached={"intervals.csv": intervals_csv(content.evidence)} if found else {},
    )


def _ranking(content: Content) -> Part | None:
    # matplotlib takes seconds to import: tables for a console do without it
    from ttt_bench.report.figures import forest
    from ttt_bench.report.figures.drawing import drawn

    found = forest.sketch(content.evidence)
    if found is None:
        return None
    alt = "Delta_TTT of every method and its difference to Norm, with intervals, the best first"
    return Part(
        name="ranking",
        heading="Ranking",
        definition="The methods by their Delta_TTT at the fixed step. The numbers are in the "
        "table below and in intervals.csv.",
        figure=drawn(found.figure, content.figure_name("ranking"), alt, found.tips),
        caption=RANKING_CAPTION,
        alt=alt,
    )


def _curves(content: Content) -> Part:
    # matplotlib takes seconds to import: tables for a console do without it
    from ttt_bench.report.figures import curves
    from ttt_bench.report.figures.drawing import drawn

    comparison = content.drawn
    found = curves.sketch(comparison)
    alt = "Score of every task and Delta_TTT over adaptation steps, one line per method"
    return Part(
        name="curves",
        heading="Scores over adaptation steps",
        definition="The primary metric of every task and Delta_TTT after each adaptation step, "
        "as means over seeds.",
        figure=drawn(found.figure, content.figure_name("curves"), alt, found.tips),
        caption=curves_caption(comparison),
        alt=alt,
        csv=_curves_csv(comparison),
    )


def _curves_csv(comparison: Comparison) -> str:
    """Return the means of the curves, one per row, with the main table's names in CSV."""
    frame = curve_frame(comparison.scores, comparison.base).rename(columns={"label": "method"})
    return frame.assign(quantity=frame["quantity"].map(quantity_key)).to_csv(index=False)


def _attribution(content: Content) -> Part | None:
    found = attribution_table.parts(content.evidence)
    table = attribution_table.build(content.evidence, found)
    if table is None:
        return None
    from ttt_bench.report.figures import attribution
    from ttt_bench.report.figures.drawing import drawn

    shown = attribution.figure(content.comparison, found)
    alt = "Stacked bars of the parts of Delta_TTT and of each task's change, one bar per method"
    return Part(
        name="attribution",
        heading="Source training, normalisation and updates",
        definition="Delta_TTT at the fixed step as a sum: the change by the method's own source "
        "training, by its normalisation mode (from its frozen control), and by updating weights.",
        table=_marked(table, content),
        figure=drawn(shown, content.figure_name("attribution"), alt),
        caption=PARTS_CAPTION,
        alt=alt,
    )


def _sync(content: Content) -> Part:
    return Part(
        name="sync",
        heading="Synchronisation of the tasks",
        definition="Whether the tasks improve together over the steps: the spread of their best "
        "steps (SV), the distance between their curves (DTW), and the agreement of their "
        "directions (CS).",
        table=_marked(sync_table.build(content.evidence), content),
        figure=_sync_curves(content),
        caption=SYNC_CAPTION,
        alt=SYNC_ALT,
    )


def _sync_curves(content: Content) -> Drawn | None:
    """Return the figure of each task's curve and peak; None if no task of any method moves."""
    from ttt_bench.report.figures import synchronisation
    from ttt_bench.report.figures.drawing import drawn

    shown = synchronisation.figure(content.comparison, content.evidence.observed)
    return None if shown is None else drawn(shown, content.figure_name("sync"), SYNC_ALT)


def _pictures(content: Content) -> tuple[Part, ...]:
    """Return the pictures of example images; none if the results contain none."""
    from ttt_bench.report.figures.pictures import pictures_of

    return tuple(
        Part(
            name=one.name,
            heading=one.heading,
            definition="The predictions that are stored with the cells of one seed, next to the "
            "image and the truth.",
            figure=Drawn(png=one.png, webp=one.webp),
            caption=one.caption,
            alt=one.alt,
            wide=True,
        )
        for one in pictures_of(content.drawn)
    )


def _more(content: Content) -> Part | None:
    return _of_table(
        content,
        more_table.build(content.comparison),
        name="more",
        heading="More metrics",
        definition="The metrics that are not primary, at the last step; the notes define each.",
    )


def _each_class(content: Content) -> Part | None:
    return _of_table(
        content,
        more_table.build_classes(content.comparison),
        name="each_class",
        heading="Scores of each class",
        definition="The metrics of each semantic class, at the last step.",
    )


def _step_rules(content: Content) -> Part | None:
    return _of_table(
        content,
        rules_table(content.evidence),
        name="step_rules",
        heading="Step rules",
        definition="Delta_TTT and the chosen step under each rule that selects a step, and the "
        "regret: Delta_TTT of the oracle minus that of the rule.",
    )


def _classes(content: Content) -> Part | None:
    return _of_table(
        content,
        classes.build(content.comparison, content.truth.pixels),
        name="classes",
        heading="Pixels of each class",
        definition="Pixels of the target's images with a target value, per semantic class.",
    )


def _parameters(content: Content) -> Part | None:
    return _of_table(
        content,
        parameters.build(content.comparison),
        name="parameters",
        heading="Trainable parameters",
        definition="Trainable parameters in millions: the network's, those that a method adds, "
        "and those that it updates.",
    )


def _hyperparameters(content: Content) -> Part | None:
    return _of_table(
        content,
        hyperparameters.build(content.comparison),
        name="hyperparameters",
        heading="Hyperparameters at test time",
        definition="Optimiser, learning rate, steps and batch of every method, next to those that "
        "the papers print.",
    )


def _ranks(content: Content) -> Part | None:
    assert content.numbers is not None
    return _of_table(
        content,
        ranks_table(content.comparison, content.numbers),
        name="ranks",
        heading="Published and measured ranks",
        definition="The order of the methods by Delta_TTT, as published and as measured.",
    )


def _of_table(
    content: Content, table: Table | None, *, name: str, heading: str, definition: str
) -> Part | None:
    """Return the part of a table with its marks; None without a table."""
    if table is None:
        return None
    shown = _marked(table, content)
    return Part(name=name, heading=heading, definition=definition, table=shown)


PARTS: dict[str, Callable[[Content], Part | tuple[Part, ...] | None]] = {
    "ranking": _ranking,
    "main": _main,
    "curves": _curves,
    "attribution": _attribution,
    "sync": _sync,
    "pictures": _pictures,
    "more": _more,
    "each_class": _each_class,
    "classes": _classes,
    "step_rules": _step_rules,
    "parameters": _parameters,
    "hyperparameters": _hyperparameters,
    "ranks": _ranks,
}
"""The parts of a comparison's section in the order of the page, by name."""
