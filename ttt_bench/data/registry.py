"""Data sets by name, those of other packages too."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import TASKS

if TYPE_CHECKING:
    pass
from ttt_bench.data.domains import BUILT_IN, RECIPES, Domain

GROUP = "ttt_bench.datasets"
"""The entry-point group through which other packages bring domains of their own."""


def domain_names() -> tuple[str, ...]:
    """Every domain's name, those of the harness first; imports no package that brings one."""
    return tuple(dict.fromkeys([*BUILT_IN, *sorted(entry_points(group=GROUP).names)]))


def find_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        BenchError: there is none, several have that name, or the package that brings it is broken
        (with the reason).
    """
    points = {point.value: point for point in entry_points(group=GROUP, name=name)}
    claims = [*(["ttt-bench itself"] if name in BUILT_IN else []), *map(_package, points.values())]
    if not claims:
        raise unknown("domain", name, domain_names())
    if len(claims) > 1:
        raise BenchError(
            f"{len(claims)} data sets are called {name!r}: {' and '.join(claims)}; uninstall one or rename its entry "
            "point"
        )
    return BUILT_IN[name] if name in BUILT_IN else _load(*points.values())


def origin(name: str) -> str:
    """Which package brings the domain of that name: its name and version."""
    points = [point.dist for point in entry_points(group=GROUP, name=name) if point.dist]
    return (
        f"{points[0].name} {points[0].version}" if points and name not in BUILT_IN else "ttt-bench"
    )


def _load(point: EntryPoint) -> Domain:
    """The domain that an entry point names."""
    where = f"data set {point.name!r} of {_package(point)}"
    try:
        domain = point.load()
    except Exception as error:  # a plugin can fail in any way; the others must go on
        raise BenchError(f"{where} does not import: {error}") from error
    if not isinstance(domain, Domain):
        raise BenchError(f"{where} is no ttt_bench.data.domains.Domain but {type(domain).__name__}")
    problems = list(_problems(domain, point.name))
    if problems:
        raise BenchError(f"{where} {'; '.join(problems)}")
    return domain


def _problems(domain: Domain, name: str) -> Iterator[str]:
    """In what a package's domain falls short of one."""
    if domain.name != name:
        yield f"calls itself {domain.name!r}; its name must be that of the entry point"
    if not domain.folder:
        yield "names no folder; give the one of the data root that holds its files"
    if ":" not in domain.opener:
        yield f"names no opener; give what opens a split, as module:object, got {domain.opener!r}"
    if not domain.tasks or domain.tasks != tuple(task for task in TASKS if task in domain.tasks):
        yield f"has the tasks {domain.tasks!r}; give some of {tuple(TASKS)!r}, in this order"
    if domain.recipe not in RECIPES:
        yield str(unknown("recipe", domain.recipe, RECIPES))
    for space in domain.label_ids.keys() - LABEL_SPACES.keys():
        yield str(unknown("label space", space, LABEL_SPACES))
    if not all(
        isinstance(group, tuple) for groups in domain.label_ids.values() for group in groups
    ):
        yield "has label_ids that are not one tuple of ids a class, such as ((24,), (7, 9))"


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name if point.dist else 'unknown'} ({point.value})"
