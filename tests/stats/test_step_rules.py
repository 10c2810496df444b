"""Step rules on trajectories whose right step is worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.trajectories import made

from ttt_bench.errors import BenchError
from ttt_bench.stats.step_rules import (
    FIXED,
    NO_STEP,
    ORACLE,
    STEP_RULES,
    Indices,
    StepRule,
    Trajectories,
    all_rules,
    chosen_steps,
)
from ttt_bench.stats.step_rules.agreement import MOST_AGREEMENT
from ttt_bench.stats.step_rules.change import ChangeSettles
from ttt_bench.stats.step_rules.loss import LossFlattens

nan = float("nan")


def chosen(rule: StepRule, found: Trajectories) -> list[int]:
    return [int(step) for step in chosen_steps(rule, found)]


def test_the_oracle_takes_each_seeds_first_best_step_after_step_0() -> None:
    found = made([[9, 1, 3, 3, 2], [0, 5, 4, 5, nan]])
    assert chosen(ORACLE, found) == [2, 1]
    assert chosen(FIXED, found) == [4, 3]


@pytest.mark.parametrize(
    ("loss", "step"),
    [
        # declines 4, 2, 0.4 = 10 % of the first, 0.1
        ([10, 6, 4, 3.6, 3.5, nan], 3),
        # declines 4, 3, 2, 1: none is small enough
        ([10, 6, 3, 1, 0, nan], 5),
        # the second update raises the loss
        ([10, 6, 7, 1, 0, nan], 2),
        # the first update does not lower it
        ([10, 10, 7, 1, 0, nan], 1),
        ([10, 12, 7, 1, 0, nan], 1),
        # the loss may have any sign and unit
        ([-100, -104, -106, -106.3, -106.5, nan], 3),
        ([nan] * 6, NO_STEP),
    ],
)
def test_the_loss_flattens(loss: list[float], step: int) -> None:
    assert chosen(LossFlattens(), made([0] * 6, {"loss": loss})) == [step]


def test_a_larger_share_stops_earlier() -> None:
    found = made([0] * 6, {"loss": [10, 6, 4, 3.6, 3.5, nan]})
    assert chosen(LossFlattens(share=0.5), found) == [2]


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.8])
def test_at_most_the_share_is_left_where_changes_shrink_by_a_factor(factor: float) -> None:
    steps = np.arange(1, 41)
    change = factor**steps
    found = made([0] * 41, {"change": [nan, *change], "loss": [*(factor ** np.arange(40)), nan]})
    for rule in (ChangeSettles(), LossFlattens()):
        (step,) = chosen(rule, found)
        left, whole = change[steps > step].sum(), change.sum()
        # changes before the step are above 10 % of the first
        assert 0.1 * factor**2 < left / whole <= 0.1 * factor


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ([nan, 8, 4, 0.8, 0.5], 3),
        ([nan, 8, 4, 2, 1], 4),
        ([nan, 0, 0, 0, 0], 1),
        # a normalisation that settles with the first step
        ([nan, 8, 0, 0, 0], 2),
        ([nan] * 5, NO_STEP),
    ],
)
def test_the_change_settles(change: list[float], step: int) -> None:
    assert chosen(ChangeSettles(), made([0] * 5, {"change": change})) == [step]


@pytest.mark.parametrize(
    ("agreement", "step"),
    [
        # step 0 may not be chosen; the first of two equal steps is
        ([0.9, 0.5, 0.7, 0.7, 0.6], 2),
        ([0.9, 0.5, nan, 0.4, 0.3], 1),
        ([nan] * 5, NO_STEP),
    ],
)
def test_predictions_agree_most(agreement: list[float], step: int) -> None:
    assert chosen(MOST_AGREEMENT, made([0] * 5, {"agreement": agreement})) == [step]


def test_cells_with_fewer_steps_and_without_a_signal() -> None:
    found = made(
        [[0, 1, 1, 1], [0, 1, 1, nan], [0, 1, nan, nan], [0, nan, nan, nan]],
        {"loss": [[5, 4, 3, nan], [5, 4, nan, nan], [5, nan, nan, nan], [nan] * 4]},
    )
    assert chosen(LossFlattens(), found) == [3, 2, 1, NO_STEP]
    assert chosen(ChangeSettles(), found) == [NO_STEP] * 4
    assert chosen(FIXED, found) == [3, 2, 1, 0]


def test_a_cell_without_steps() -> None:
    found = made([0])
    assert chosen(ORACLE, found) == [0]
    for rule in all_rules().rules:
        if rule.needs and rule is not ORACLE:
            assert chosen(rule, found) == [NO_STEP]


@pytest.mark.parametrize("rule", all_rules().rules, ids=lambda rule: rule.name)
def test_replicates_are_chosen_like_observed_values(rule: StepRule) -> None:
    draw = np.random.default_rng(0)
    # (R, C, T + 1)
    values = {name: draw.normal(size=(6, 3, 8)) for name in ("loss", "change", "agreement")}
    deltas = draw.normal(size=(6, 3, 8))
    observed = made(np.zeros((3, 8)).tolist())
    both = replace(observed, deltas=deltas, signals=values)
    each = [
        rule.choose(
            replace(observed, deltas=deltas[r], signals={n: v[r] for n, v in values.items()})
        )
        for r in range(6)
    ]
    np.testing.assert_array_equal(chosen_steps(rule, both), np.stack(each))


class Middle(StepRule):
    """The step in the middle."""

    name = "middle"
    heading = "middle"
    detail = "the one in the middle"

    def __init__(self, shift: float = 0) -> None:
        self.shift = shift

    def choose(self, trajectories: Trajectories) -> Indices:
        middle = (trajectories.last + 1) // 2 + self.shift
        return np.broadcast_to(middle, trajectories.deltas.shape[:-1])


class Failing(Middle):
    """A rule with a mistake."""

    def choose(self, trajectories: Trajectories) -> Indices:
        return trajectories.signals["missing"].argmax(axis=-1)


class Whole(Middle):
    """A rule that forgets the cells."""

    def choose(self, trajectories: Trajectories) -> Indices:
        return np.array(1)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Failing(), r"^step rule 'middle' fails: KeyError: 'missing' \(test_step_rules\.py:\d+ in"),
        (Whole(), r"returns int64 of shape \(\); return integers of shape \(1,\)"),
        (Middle(0.5), r"returns float64 of shape \(1,\); return integers"),
        (Middle(9), r"chooses step 11 of tent, seed 0; choose one of .*, or NO_STEP \(-1\)"),
        (Middle(-2), r"chooses step 0 of tent, seed 0"),
    ],
)
def test_a_rule_that_fails_is_named(rule: StepRule, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        chosen_steps(rule, made([0, 1, 2, 3]))


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder with two packages: a rule that cannot be used, and one that is no rule."""
    monkeypatch.syspath_prepend(tmp_path)
    for module, text in {"no_import": "import missing_module", "no_rule": "RULE = 3"}.items():
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        points = f"[ttt_bench.step_rules]\n{module} = {module}:RULE\n"
        (info / "entry_points.txt").write_text(points)
    return tmp_path


def test_broken_rules_are_named_and_leave_the_others(packages: Path) -> None:
    with STEP_RULES.extended({"middle": Middle()}):
        found = all_rules()
    names = ["fixed", "oracle", "loss", "agreement", "change", "middle"]
    assert [rule.name for rule in found.rules] == names
    no_import, no_rule = found.problems
    assert "'no_import' of package no_import (no_import:RULE) does not import" in no_import
    assert "'no_rule'" in no_rule
    assert "must be an instance of ttt_bench.stats.step_rules.StepRule, got 3" in no_rule


def test_what_is_wrong_with_a_rule_is_told() -> None:
    assert STEP_RULES.problems(Middle(), "middle") == []
    assert STEP_RULES.problems(Middle, "middle") == [
        "must be an instance of ttt_bench.stats.step_rules.StepRule, got the class Middle"
    ]
    assert STEP_RULES.problems(Middle(), "other") == [
        "has the name 'middle'; the name must be that of its entry point"
    ]
    with pytest.raises(BenchError, match="unknown step rule 'orcale'; did you mean oracle"):
        STEP_RULES.load("orcale")
