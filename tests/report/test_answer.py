"""The answer in sentences, on facts and on made evidence with verdicts known by construction."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.verdicts import BETTER, OPEN, WORSE
from ttt_bench.report.answer import answer
from ttt_bench.report.answer.facts import Facts, Value, facts_of
from ttt_bench.report.answer.sentences import (
    ONE_SEED,
    WITHOUT_BASE,
    WITHOUT_NORM,
    WITHOUT_STEP,
    sentences,
)


def value(name: str, mean: float, verdict: int = OPEN, half: float = 0.5) -> Value:
    return Value(name=name, mean=mean, low=mean - half, high=mean + half, verdict=verdict)


NORM_ROW = value("Norm", 10.9, half=2.0)
FACTS = Facts(
    reference="Norm",
    own=NORM_ROW,
    deltas=(NORM_ROW, value("tent", 10.8)),
    differences=(
        value("tent", -0.1),
        value("ttt", -1.7, WORSE),
        value("actmad", -7.6, WORSE),
        value("s4t", 0.3),
    ),
    updates=(value("tent", 0.1), value("actmad", 3.3, BETTER), value("ttt", -0.9, WORSE)),
    seeds=3,
    images=128,
)


def test_the_answer_states_what_is_shown_with_numbers_and_intervals() -> None:
    assert sentences(FACTS) == (
        "No method is shown to be above Norm at the fixed step (Delta_TTT 10.9 %, 95 % interval "
        "8.9 to 12.9).",
        "actmad and ttt are shown to be below it, by 7.6 (7.1 to 8.1) and 1.7 (1.2 to 2.2) points.",
        "tent and s4t are not shown to differ from it.",
        "Compared with frozen controls (learning rate 0), updates are shown to raise the Delta_TTT "
        "of actmad by 3.3 (2.8 to 3.8) points and lower the Delta_TTT of ttt by 0.9 (0.4 to 1.4) "
        "points; no effect is shown for tent.",
    )


def test_a_row_above_the_reference_is_named_first() -> None:
    above = replace(FACTS, differences=(value("s4t", 0.06, BETTER, half=0.03),), updates=())
    (only,) = sentences(above)
    assert only.startswith("s4t is shown to be above Norm at the fixed step (Delta_TTT 10.9 %")
    # with one digit the lower end would be 0
    assert only.endswith("by 0.06 (0.03 to 0.09) points.")


def test_of_many_rows_only_the_largest_and_the_smallest_difference_has_a_number() -> None:
    many = [value(letter, -place, WORSE) for place, letter in enumerate("abcde", 1)]
    text = sentences(replace(FACTS, differences=tuple(many)))[1]
    assert text.startswith("e, d, c, b and a are shown to be below it, by 5.0 (4.5 to 5.5) to 1.0")


def test_nothing_is_claimed_without_a_difference_that_is_shown() -> None:
    # the intervals exclude 0, but the corrected verdicts are open
    level = replace(FACTS, differences=(value("s4t", 0.9), value("ttt", -0.9)), updates=())
    assert sentences(level)[1:] == ("s4t and ttt are not shown to differ from it.",)
    still = replace(FACTS, updates=(value("tent", 0.6),))
    assert sentences(still)[-1] == (
        "Compared with frozen controls (learning rate 0), updates are not shown to change the "
        "Delta_TTT of tent."
    )


def test_the_answer_names_its_limits() -> None:
    assert sentences(replace(FACTS, seeds=1))[-1] == ONE_SEED
    against_base = replace(FACTS, reference="Base", own=None, updates=())
    assert sentences(against_base)[0] == "No method is shown to be above Base at the fixed step."
    assert sentences(replace(against_base, norm=False))[-1] == WITHOUT_NORM
    # a rule that reads a signal has no step for norm, which has numbers
    assert sentences(against_base)[-1] == WITHOUT_STEP
    assert sentences(replace(FACTS, reference=None)) == (WITHOUT_BASE,)
    assert "not which method is better" in sentences(replace(FACTS, smoke=True))[0]
    (small,) = sentences(replace(FACTS, images=3, seeds=1))
    assert small.startswith("3 images and 1 seed:")
    lost = replace(FACTS, missing={"sar": "diverged"}, incomplete={"tent": ("failed", 2)})
    assert sentences(lost)[-2:] == (
        "Without numbers: sar (diverged).",
        "Some seeds are missing from the means of tent (2 seeds failed).",
    )
    nan = Value(name="Norm", mean=3.0, low=math.nan, high=math.nan)
    (open_,) = sentences(replace(FACTS, deltas=(nan,)))
    assert open_.endswith("so nothing is shown: the largest Delta_TTT is 3.0 % (Norm).")


def _made(root: Path, percents: dict[str, float], seeds: int) -> Evidence:
    for seed in range(seeds):
        add_cell(root, "base", constant(BASE), config=f"b{seed}", seed=seed)
        for method, gain in percents.items():
            curve = gains(*[gain + 0.1 * seed] * 4)
            add_cell(root, method, curve, config=f"{method}{seed}", seed=seed)
    return Evidence(compared(root)[0])


def test_facts_have_the_verdicts_of_the_evidence(tmp_path: Path) -> None:
    _made(tmp_path, {"norm": 10, "tent": 10, "s4t": 20, "ttt": 5}, seeds=3)
    add_cell(tmp_path, "sar", config="x", state="diverged", reason="not finite")
    evidence = Evidence(compared(tmp_path)[0])
    facts = facts_of(evidence)
    assert (facts.reference, facts.seeds) == ("Norm", 3)
    assert {one.name: one.verdict for one in facts.differences} == {
        "TENT": OPEN,
        "S4T": BETTER,
        "TTT": WORSE,
    }
    assert {one.name: round(one.mean, 6) for one in facts.differences}["S4T"] == 10
    assert [one.name for one in facts.deltas] == ["Norm", "TENT", "TTT", "S4T"]
    assert facts.missing == {"SAR": "diverged"}


def test_one_seed_without_statistics_shows_nothing(tmp_path: Path) -> None:
    evidence = _made(tmp_path, {"norm": 10, "s4t": 20}, seeds=1)
    facts = facts_of(evidence)
    assert [one.verdict for one in facts.differences] == [OPEN]
    (only,) = sentences(facts)
    assert only.endswith("so nothing is shown: the largest Delta_TTT is 20.0 % (S4T).")


def test_no_numbers_at_all(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", config="x", state="diverged", reason="not finite")
    (first, second) = answer(Evidence(compared(tmp_path)[0]))
    assert first == "No cell has numbers, so nothing is known about the methods."
    assert second == "Without numbers: TENT (diverged)."
