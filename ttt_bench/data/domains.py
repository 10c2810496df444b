"""Domains: properties that the harness needs before it reads an image. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.rooms.looks import LOOKS
from ttt_bench.data.taskonomy import depth as taskonomy_depth
from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import PAPER_TASKS, RECIPES
from ttt_bench.util.text import listed

__all__ = ["BUILT_IN", "METRES", "RECIPES", "Domain", "shared_labels", "without_labels"]

METRES = "metres"
"""The default unit of depth targets."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A source of images.

    Attributes:
        name: name in pairs and options; for a plug-in, the name of its entry point.
        description: one line for listings.
        tasks: tasks that can have targets, in canonical order; tasks without files in a data root
            are left out when it is opened.
        recipe: name in `RECIPES`: how a source model is trained on the domain.
        edge_sigmoid: whether edge targets are 0 or 1, so that a sigmoid is applied to edge outputs
            before scoring.
        depth_nonnegative: whether depth outputs are clamped at 0 before scoring.
        depth_unit: unit of depth targets, in words.
        edge_unit: values of edge targets, in words.
        folder: folder of the files in the data root; None for an embedded domain.
        opener: `module:object`, a callable that opens a split and returns a `Dataset`. It is called
            with (folder, split, size, progress, space=, variant=), as `open_domain` describes
            them; `space` is None if the pair shares no classes. Empty for an embedded domain.
        open_options: further keyword arguments of the opener; supported: "subset",
            and "tasks", the tasks that the data set gives, or None for those of `PAPER_TASKS`.
        to_metres: decodes tensors of depth targets to metres; None if they are in metres.
        labels: the name under which label spaces list the domain's native ids; its own by default.
        label_ids: native ids for label spaces of the harness: name of the space -> one tuple of
            ids per class.
        class_ids: native ids of each class by its name, for classes that are found by their names:
            data sets that share names share these classes, and label spaces with such names have
            its ids.
        unscaled: whether the data variant `official` normalises images to [-1, 1] instead of by
            ImageNet's statistics.
    """

    name: str
    description: str
    tasks: tuple[str, ...]
    recipe: str = "weighted"
    edge_sigmoid: bool = True
    depth_nonnegative: bool = True
    depth_unit: str = METRES
    edge_unit: str = "0 or 1"
    folder: str | None = None
    opener: str = ""
    open_options: tuple[str, ...] = ()
    to_metres: Callable[[Any], Any] | None = None
    labels: str = ""
    label_ids: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    class_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unscaled: bool = False

    @property
    def own_code(self) -> bool:
        """Whether the code that reads it is part of the harness."""
        return self.embedded or self.opener.startswith("ttt_bench.")

    @property
    def embedded(self) -> bool:
        """Whether the images are rendered by the harness, so that no files are needed."""
        return self.folder is None

    def ids_of(self, space: LabelSpace) -> tuple[tuple[int, ...], ...] | None:
        """Return the native ids of each class of a label space, or None if it has none."""
        found = self.label_ids.get(space.name, space.native.get(self.labels or self.name))
        if found is not None or not self.class_ids:
            return found
        named = tuple(self.class_ids.get(label, ()) for label in space.classes)
        return named if sum(map(bool, named)) > 1 else None


BUILT_IN: dict[str, Domain] = {
    # the embedded rooms use NYUD-v2's encodings, losses, masks and scoring
    **{
        name: Domain(name=name, description=look.description, tasks=PAPER_TASKS, labels="rooms")
        for name, look in LOOKS.items()
    },
    "taskonomy": Domain(
        name="taskonomy",
        description="Taskonomy (tiny): real rooms with measured depth and normals",
        tasks=PAPER_TASKS,
        recipe="taskonomy",
        edge_sigmoid=False,
        depth_nonnegative=False,
        depth_unit="log(1 + counts) / log(65536)",
        edge_unit="blurred gradients, -1 on flat areas",
        folder="taskonomy",
        opener="ttt_bench.data.taskonomy.dataset:Taskonomy.open",
        open_options=("subset",),
        to_metres=taskonomy_depth.to_metres,
        unscaled=True,
    ),
    "nyud": Domain(
        name="nyud",
        description="NYUD-v2, multi-task form: rooms seen by a Kinect",
        tasks=PAPER_TASKS,
        folder="nyud",
        opener="ttt_bench.data.nyud.dataset:NYUD.open",
    ),
    "pascal": Domain(
        name="pascal",
        description="PASCAL-Context, multi-task form: photographs of everything, without depth",
        tasks=("semseg", "normals", "edge", "human_parts", "saliency"),
        folder="pascal",
        opener="ttt_bench.data.pascal.dataset:PascalContext.open",
        open_options=("tasks",),
    ),
}
"""The domains of the harness by name."""


def shared_labels(
    domains: Sequence[Domain], name: str | None, own: Mapping[str, LabelSpace]
) -> LabelSpace | None:
    """Return the label space of a name, or the first one with ids for all of these domains.

    Without a name, the names of classes that all domains have come before the label spaces of the
    harness.

    Args:
        name: the label space that is asked for; None for the first one that fits.
        own: custom label spaces of the user.

    Returns:
        The space, with the ids of all these domains filled in. None if no name was given and no
        space has ids for all of them.

    Raises:
        BenchError: the name is unknown, the space lacks one of the domains, or a domain has ids of
            fewer than two classes.
    """
    spaces = {**LABEL_SPACES, **own}
    if name is not None and name not in spaces:
        raise unknown("label space", name, spaces)
    named = [*_shared_names(domains), *LABEL_SPACES.values()]
    for space in [spaces[name]] if name is not None else named:
        found = [(domain, domain.ids_of(space)) for domain in domains]
        lacking = [domain.name for domain, ids in found if ids is None]
        if not lacking:
            native = {domain.labels or domain.name: ids for domain, ids in found if ids is not None}
            shared = replace(space, native={**space.native, **native})
            for dataset in native:
                _check_classes(shared, dataset)
            return shared
        if name is not None:
            raise BenchError(
                f"{':'.join(domain.name for domain in domains)}: label space {name} has no ids for "
                f"{' and '.join(lacking)}, only for {', '.join(space.native)}"
            )
    return None


def without_labels(source: Domain, target: Domain) -> str:
    """Return why `shared_labels` finds no label space for two domains, and what to do."""
    own = "choose a label space with ids of both with --label-space"
    if not (source.class_ids and target.class_ids):
        return f"no label space has ids for both {source.name} and {target.name}; {own}"
    shared = _shared_classes([source, target])
    common = f"only the class {shared[0]}, and two are needed" if shared else "no class"
    return (
        f"{source.name} ({listed([*source.class_ids])}) and {target.name} "
        f"({listed([*target.class_ids])}) share {common}; give equal classes the same name in both "
        f"data sets, or {own}"
    )


def _shared_classes(domains: Sequence[Domain]) -> list[str]:
    """Return the class names that all domains have, in the order of the first."""
    tables = [domain.class_ids for domain in domains]
    shared = set.intersection(*map(set, tables))
    return [label for label in tables[0] if label in shared]


def _shared_names(domains: Sequence[Domain]) -> list[LabelSpace]:
    """Return the label space of the class names that all domains have; empty below two."""
    classes = _shared_classes(domains)
    if len(classes) < 2:
        return []
    native = {one.name: tuple(map(one.class_ids.__getitem__, classes)) for one in domains}
    return [LabelSpace(name="+".join(native), classes=tuple(classes), native=native)]


def _check_classes(space: LabelSpace, dataset: str) -> None:
    """Raise a BenchError if a data set has ids of fewer than two classes of a label space."""
    found = space.labelled_classes(dataset)
    if len(found) < 2:
        raise BenchError(
            f"label space {space.name}: data set {dataset} has ids of one class only "
            f"({', '.join(found)}), so all its other pixels are void and scores mean nothing; give "
            "ids of at least two classes"
        )
