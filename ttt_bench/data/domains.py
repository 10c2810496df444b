"""Domains and pairs by name, with what the harness must know before any image is read. Imports no torch."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.rooms.looks import LOOKS
from ttt_bench.data.shifts import Shift, parse_target
from ttt_bench.data.variants import DataVariant
from ttt_bench.errors import BenchError, unknown
from ttt_bench.progress import Progress
from ttt_bench.tasks import TASKS

if TYPE_CHECKING:
    from ttt_bench.data.base import Dataset

GROUP = "ttt_bench.datasets"
"""The entry-point group through which other packages bring domains of their own."""

RECIPES = ("weighted", "taskonomy")
"""How a source model may be trained on a domain; `ttt_bench.losses.RECIPES` holds what each name means."""


@dataclass(frozen=True)
class Domain:
    """Where images come from.

    Attributes:
        opener: what opens a split of its files and gives a `Dataset`, `module:object`; called with (its folder, split,
            size, progress, space=, variant=) as `open_domain` describes them, `space` being None where a pair shares no
            classes. Empty if embedded.
        tasks: what it can have targets for, in canonical order; what a root lacks is left out when it is opened.
        recipe: how a source model is trained on it, a name in `RECIPES`.
        edge_sigmoid: its edge targets are 0/1, so that an edge output is scored through a sigmoid.
        depth_nonnegative: a depth output is clamped at 0 before scoring.
        depth_unit: what depth targets are given in.
        edge_unit: the values of edge targets.
        folder: the data root's folder that holds it; None if embedded.
        depth_log: its depth targets are log(1 + counts) / log(65536), counts of 1/512 m; otherwise metres.
        labels: under which name label spaces have its native ids; by default its own.
        label_ids: native ids of label spaces that ship with the harness: the space's name -> one group a class.
        unscaled: its own code normalises images to [-1, 1], not by ImageNet's statistics (data variant official).
    """

    name: str
    description: str
    tasks: tuple[str, ...]
    recipe: str = "weighted"
    edge_sigmoid: bool = True
    depth_nonnegative: bool = True
    depth_unit: str = "metres"
    edge_unit: str = "0 or 1"
    folder: str | None = None
    opener: str = ""
    depth_log: bool = False
    labels: str = ""
    label_ids: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    unscaled: bool = False

    @property
    def embedded(self) -> bool:
        """Made here, so that nothing has to be downloaded."""
        return self.folder is None

    def ids_of(self, space: LabelSpace) -> tuple[tuple[int, ...], ...] | None:
        """Its native ids for each class of a label space; None where the space says nothing of it."""
        return self.label_ids.get(space.name, space.native.get(self.labels or self.name))


BUILT_IN: dict[str, Domain] = {
    # the embedded rooms use NYUD-v2's encodings, losses, masks and scoring
    **{name: Domain(name, look.description, tuple(TASKS), labels="rooms") for name, look in LOOKS.items()},
    "taskonomy": Domain(
        "taskonomy",
        "Taskonomy (tiny): real rooms with measured depth and normals",
        tuple(TASKS),
        recipe="taskonomy",
        edge_sigmoid=False,
        depth_nonnegative=False,
        depth_unit="log(1 + counts) / log(65536)",
        edge_unit="blurred gradients, -1 on flat areas",
        folder="taskonomy",
        opener="ttt_bench.data.taskonomy.dataset:Taskonomy.open",
        depth_log=True,
        unscaled=True,
    ),
    "nyud": Domain(
        "nyud",
        "NYUD-v2, multi-task form: rooms seen by a Kinect",
        tuple(TASKS),
        folder="nyud",
        opener="ttt_bench.data.nyud.dataset:NYUD.open",
    ),
    "pascal": Domain(
        "pascal",
        "PASCAL-Context, multi-task form: photographs of everything, without depth",
        ("semseg", "normals", "edge"),
        folder="pascal",
        opener="ttt_bench.data.pascal.dataset:PascalContext.open",
    ),
}
"""The domains that ship with the harness."""

ROOMS_SPACE = "taskonomy_nyud_7"
"""The label space that the rooms are rendered with."""

LISTED_PAIRS = (
    "rooms:rooms-mix",
    "taskonomy:nyud",
    "taskonomy:pascal",
    "nyud:taskonomy",
    "pascal:taskonomy",
)
"""The pairs that a listing shows; any ordered pair of domains runs."""


@dataclass(frozen=True)
class Pair:
    """A source and a target domain, and the shifts that the target's images are under."""

    source: Domain
    target: Domain
    shifts: tuple[Shift, ...] = ()

    @property
    def name(self) -> str:
        return ":".join([self.source.name, "+".join([self.target.name, *map(str, self.shifts)])])

    @property
    def embedded(self) -> bool:
        return self.source.embedded and self.target.embedded

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of both domains, in canonical order; a data root may hold fewer."""
        return tuple(task for task in self.source.tasks if task in self.target.tasks)

    def label_space(self, name: str | None, own: Mapping[str, LabelSpace]) -> LabelSpace | None:
        """The classes that both domains share, as `shared_labels` says."""
        return shared_labels((self.source, self.target), name, own)


def shared_labels(domains: Sequence[Domain], name: str | None, own: Mapping[str, LabelSpace]) -> LabelSpace | None:
    """The label space of the given name, or the first one that all of these domains have ids in.

    Args:
        own: the user's own label spaces.

    Returns:
        The space with the ids of all these domains filled in; None where no space has them and none was asked for.

    Raises:
        BenchError: no such space, or one that lacks one of the domains.
    """
    spaces = {**LABEL_SPACES, **own}
    if name is not None and name not in spaces:
        raise unknown("label space", name, spaces)
    for space in [spaces[name]] if name is not None else LABEL_SPACES.values():
        found = [(domain, domain.ids_of(space)) for domain in domains]
        lacking = [domain.name for domain, ids in found if ids is None]
        if not lacking:
            native = {domain.labels or domain.name: ids for domain, ids in found if ids is not None}
            return LabelSpace(space.name, space.classes, {**space.native, **native}, space.footnote)
        if name is not None:
            raise BenchError(
                f"{':'.join(domain.name for domain in domains)}: label space {name} has no ids for "
                f"{' and '.join(lacking)}, only for {', '.join(space.native)}"
            )
    return None


def domain_names() -> tuple[str, ...]:
    """Every domain's name, those of the harness first; imports no package that brings one."""
    return tuple(dict.fromkeys([*BUILT_IN, *sorted(entry_points(group=GROUP).names)]))


def find_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        BenchError: there is none, several have that name, or the package that brings it is broken (with the reason).
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
    return f"{points[0].name} {points[0].version}" if points and name not in BUILT_IN else "ttt-bench"


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
    if not all(isinstance(group, tuple) for groups in domain.label_ids.values() for group in groups):
        yield "has label_ids that are not one tuple of ids a class, such as ((24,), (7, 9))"


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name if point.dist else 'unknown'} ({point.value})"


def find_pair(text: str) -> Pair:
    """The pair `source:target`, or `source:target+shift@strength`.

    Raises:
        BenchError: not of that form, an unknown domain, or a shift that is none or out of range.
    """
    source, colon, rest = text.partition(":")
    if not colon or ":" in rest:
        raise BenchError(f"a pair is written source:target (such as {LISTED_PAIRS[0]}), got {text!r}")
    target, shifts = parse_target(rest)
    for name in (source, target):
        if name not in domain_names():
            pairs = [*LISTED_PAIRS, *(f"{source}:{other}" for other in domain_names())]
            raise unknown("pair", f"{source}:{target}", pairs if source in domain_names() else LISTED_PAIRS)
    return Pair(find_domain(source), find_domain(target), shifts)


def is_there(domain: Domain, data_root: Path | None) -> bool:
    """Whether a domain's folder lies below the data root, or it needs none."""
    return domain.folder is None or (data_root is not None and (data_root / domain.folder).is_dir())


def folder_of(domain: Domain, data_root: Path | None) -> Path:
    """Where a domain's files lie below the data root.

    Raises:
        BenchError: there is no data root, or it has no such folder.
    """
    assert domain.folder is not None
    if data_root is None:
        raise BenchError(
            f"{domain.name} needs its files: give the folder that holds {domain.folder}/ with --data-root or in the "
            "environment variable TTT_BENCH_DATA"
        )
    folder = data_root / domain.folder
    if not folder.is_dir():
        raise BenchError(
            f"{domain.name}: looked for {folder}, which is no folder; --data-root (or TTT_BENCH_DATA) must name the "
            f"folder that holds {domain.folder}/"
        )
    return folder


def open_domain(
    domain: Domain,
    split: str,
    size: tuple[int, int],
    count: int,
    *,
    data_root: Path | None,
    cache: Path,
    progress: Progress,
    space: LabelSpace | None = None,
    variant: DataVariant,
    subset: str = "first_tenth",
) -> Dataset:
    """A split of a domain at one size.

    Args:
        split: train (source training), val (held-out source), test (the target) or tune (other target images).
        size: (H, W).
        count: how many images an embedded domain renders; real domains give what they have.
        data_root: the folder that holds the real domains' folders.
        cache: where rendered images are kept.
        space: the label space of `semseg`; None for the data set's own choice.
        variant: whose data handling.
        subset: which of Taskonomy's test frames.

    Raises:
        BenchError: missing or damaged files, named.
    """
    if domain.embedded:
        from ttt_bench.data.rooms.dataset import Rooms
        from ttt_bench.data.views import Relabelled

        rooms = Rooms(domain.name, split, size, count, cache)
        own = space is None or space.native[domain.labels] == LABEL_SPACES[ROOMS_SPACE].native[domain.labels]
        return rooms if own or space is None else Relabelled(rooms, space.table(domain.labels), space.record())
    options = {"subset": subset} if domain.name == "taskonomy" else {}
    folder = folder_of(domain, data_root)
    opener = _opener(domain.opener)
    try:
        return opener(folder, split, size, progress, space=space, variant=variant, **options)
    except BenchError:
        raise
    except Exception as error:
        if domain.name in BUILT_IN:
            raise
        # a package can fail in any way
        raise BenchError(f"{domain.name}: {domain.opener} failed: {type(error).__name__}: {error}") from error


@cache
def _opener(name: str) -> Any:
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BenchError(f"what opens the data set, {name}, cannot be had: {error}") from error
