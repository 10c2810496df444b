"""Groups of methods in `--methods`."""

from __future__ import annotations

from ttt_bench.config.request import Request
from ttt_bench.registry import METHODS, group_of, members
from ttt_bench.results.method_names import PAPERS
from ttt_bench.sweep.resolve import resolve


class Mine(METHODS.load("norm")):  # type: ignore[misc]
    name = "mine"


def methods(*names: str) -> tuple[str, ...]:
    return resolve(Request(methods=names)).methods


def test_all_is_the_methods_of_the_papers_whatever_is_installed() -> None:
    with METHODS.extended({"mine": Mine}):
        assert methods("all") == PAPERS
        assert set(methods("everything")) == {*PAPERS, *members("more"), "mine"}
        assert group_of("mine") == "everything"


def test_groups_and_names_combine_and_a_method_runs_once() -> None:
    assert methods("all", "tent", "norm") == PAPERS
    assert methods("tent", "all")[:2] == ("tent", "base")


def test_only_names_are_demanded() -> None:
    assert resolve(Request(methods=("all", "tent"))).named == {"tent"}
