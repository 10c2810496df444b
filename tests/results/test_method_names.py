"""The printed names of methods, against the names in the papers' tables."""

from __future__ import annotations

import pytest

from ttt_bench.results.method_names import PROPER, PROPER_NAMES, SHORT_NAMES, MethodNames


@pytest.mark.parametrize(
    ("label", "printed"),
    [
        ("tttpp", "TTT++"),
        ("tent (frozen)", "TENT (frozen)"),
        ("s4t (masking=disjoint, 1 step)", "S4T (masking=disjoint, 1 step)"),
        ("s4t [s4t.tasks=single:depth]", "S4T [s4t.tasks=single:depth]"),
        ("mine (frozen)", "mine (frozen)"),
        ("best constant", "best constant"),
        ("", ""),
    ],
)
def test_the_method_of_a_label_is_replaced_and_the_rest_is_kept(label: str, printed: str) -> None:
    assert PROPER_NAMES.of(label) == printed
    assert SHORT_NAMES.of(label) == label


def test_given_names_are_of_a_method_or_of_one_row() -> None:
    names = MethodNames({**PROPER, "mine": "Ours", "s4t (frozen)": "S4T, not adapted"})
    labels = ["base", "mine (lr=0.1)", "s4t", "s4t (frozen)"]
    assert names.listed(labels) == "Base, Ours (lr=0.1), S4T, S4T, not adapted"
