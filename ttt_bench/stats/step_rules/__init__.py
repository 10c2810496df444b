"""The rules that choose the adaptation step whose scores are shown."""

from ttt_bench.stats.step_rules.base import DELTA, StepRule, chosen_steps
from ttt_bench.stats.step_rules.labelled import FIXED, ORACLE
from ttt_bench.stats.step_rules.registry import STEP_RULES, Rules, all_rules
from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories

SECTIONS: tuple[StepRule, ...] = (FIXED, ORACLE)
"""The rules with a section in the main table, in its order."""

__all__ = [
    "DELTA",
    "FIXED",
    "NO_STEP",
    "ORACLE",
    "SECTIONS",
    "STEP_RULES",
    "Indices",
    "Rules",
    "StepRule",
    "Trajectories",
    "all_rules",
    "chosen_steps",
]
