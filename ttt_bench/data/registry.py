"""Data sets by name: the built-in ones and those of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttt_bench.data.declared.declaration import FILE
from ttt_bench.data.declared.domains import declared_domain, declared_names
from ttt_bench.data.domains import BUILT_IN, RECIPES, Domain
from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.errors import BenchError, unknown
from ttt_bench.registry import unchanged_process
from ttt_bench.tasks import TASKS
from ttt_bench.util.code.plugins import Registry


def _domain_problems(loaded: Any, name: str) -> Iterator[str]:
    """Yield the reasons why an entry point's object is not a valid data set."""
    if not isinstance(loaded, Domain):
        yield f"must be a ttt_bench.data.domains.Domain, got {type(loaded).__name__}"
        return
    if loaded.name != name:
        yield f"has the name {loaded.name!r}; the name must be that of its entry point"
    if not loaded.folder:
        yield "has no `folder`; give the name of its folder in the data root"
    if ":" not in loaded.opener:
        yield f"has the opener {loaded.opener!r}; give module:object, which opens one split"
    if not loaded.tasks or loaded.tasks != tuple(task for task in TASKS if task in loaded.tasks):
        yield f"has the tasks {loaded.tasks!r}; give some of {tuple(TASKS)!r}, in this order"
    if loaded.recipe not in RECIPES:
        yield f"has an {unknown('recipe', loaded.recipe, RECIPES)}"
    yield from _label_problems(loaded)


def _label_problems(domain: Domain) -> Iterator[str]:
    for space in domain.label_ids.keys() - LABEL_SPACES.keys():
        yield f"has ids for an {unknown('label space', space, LABEL_SPACES)}"
    groups = [group for space in domain.label_ids.values() for group in space]
    if not all(isinstance(group, tuple) for group in groups):
        yield "has invalid `label_ids`; give one tuple of ids per class, such as ((24,), (7, 9))"


DATASETS: Registry[Domain] = Registry(
    "data set",
    group="ttt_bench.datasets",
    problems=_domain_problems,
    built_in=BUILT_IN,
    order=tuple(BUILT_IN),
    reserved=("source", "target"),  # `data.sizes` has these roles next to names of data sets
    guard=unchanged_process,
)
"""The registered data sets, the built-in ones first."""


def domain_names(data_root: Path | None) -> tuple[str, ...]:
    """Return the names of the registered data sets, then of those that a data root declares."""
    return tuple(dict.fromkeys([*DATASETS.names(), *declared_names(data_root)]))


def find_domain(name: str, data_root: Path | None) -> Domain:
    """Return the registered data set of a name, or the one that a data root declares.

    Raises:
        BenchError: the name is unknown, or the data set is invalid.
    """
    if data_root is not None and name in declared_names(data_root):
        if name in DATASETS.names():
            raise BenchError(
                f"{data_root / name} has the name of an installed data set; rename the folder, or "
                f"remove its {FILE}"
            )
        return declared_domain(data_root / name)
    return DATASETS.load(name)
