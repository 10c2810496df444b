"""Domains and pairs by name, with what the harness must know before any image is read. Imports
no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.rooms.looks import LOOKS
from ttt_bench.data.taskonomy import depth as taskonomy_depth
from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import TASKS

RECIPES = ("weighted", "taskonomy")
"""How a source model may be trained on a domain; `ttt_bench.losses.RECIPES` holds what each name
means.
"""


@dataclass(frozen=True)
class Domain:
    """Where images come from.

    Attributes:
        opener: what opens a split of its files and gives a `Dataset`, `module:object`; called with
            (its folder, split, size, progress, space=, variant=) as `open_domain` describes them,
            `space` being None where a pair shares no classes. Empty if embedded.
        tasks: what it can have targets for, in canonical order; what a root lacks is left out when
        it is opened.
        recipe: how a source model is trained on it, a name in `RECIPES`.
        edge_sigmoid: its edge targets are 0/1, so that an edge output is scored through a sigmoid.
        depth_nonnegative: a depth output is clamped at 0 before scoring.
        depth_unit: what depth targets are given in.
        edge_unit: the values of edge targets.
        folder: the data root's folder that holds it; None if embedded.
        to_metres: decodes tensors of its depth targets to metres; None if they are in metres.
        labels: under which name label spaces have its native ids; by default its own.
        label_ids: native ids of label spaces that ship with the harness: the space's name -> one
        group a class.
        unscaled: its own code normalises images to [-1, 1], not by ImageNet's statistics (data
        variant official).
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
    to_metres: Callable[[Any], Any] | None = None
    labels: str = ""
    label_ids: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    unscaled: bool = False

    @property
    def embedded(self) -> bool:
        """Made here, so that nothing has to be downloaded."""
        return self.folder is None

    def ids_of(self, space: LabelSpace) -> tuple[tuple[int, ...], ...] | None:
        """Its native ids for each class of a label space; None where the space says nothing of
        it.
        """
        return self.label_ids.get(space.name, space.native.get(self.labels or self.name))


BUILT_IN: dict[str, Domain] = {
    # the embedded rooms use NYUD-v2's encodings, losses, masks and scoring
    **{
        name: Domain(name, look.description, tuple(TASKS), labels="rooms")
        for name, look in LOOKS.items()
    },
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
        to_metres=taskonomy_depth.to_metres,
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


def shared_labels(
    domains: Sequence[Domain], name: str | None, own: Mapping[str, LabelSpace]
) -> LabelSpace | None:
    """The label space of the given name, or the first one that all of these domains have ids in.

    Args:
        own: the user's own label spaces.

    Returns:
        The space with the ids of all these domains filled in; None where no space has them and none
        was asked for.

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
