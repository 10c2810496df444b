"""PASCAL-Context's folders. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import ListedLayout, PartFolder

CONTEXT = "context"
"""The part with the 459 Context labels, from which edges are made and which mask normals."""
EDGES = PartFolder("edge", (".png",))
"""The folder that stores edges after they have been made."""


def other_form(folder: Path) -> str | None:
    """Return why PASCAL VOC without the Context data cannot be used, or None for other folders."""
    inner = next(
        (
            path
            for path in (folder, *sorted(folder.glob("VOC20*")))
            if (path / "JPEGImages").is_dir()
        ),
        None,
    )
    if inner is None:
        return None
    return (
        f"{inner} has images of PASCAL VOC without the Context lists (ImageSets/Context/train.txt "
        "and val.txt); `ttt-bench data prepare pascal` makes the data set from them and the "
        "Context annotations"
    )


LAYOUT = ListedLayout(
    title="PASCAL-Context",
    folder="pascal",
    archives=("PASCALContext", "PASCAL_MT"),
    lists="ImageSets/Context",
    parts={
        IMAGE: (PartFolder("JPEGImages", (".jpg",)),),
        "semseg": (
            PartFolder("semseg/VOC12", (".png",)),
            PartFolder("semseg/pascal-context", (".png",)),
        ),
        CONTEXT: (PartFolder("pascal-context/trainval", (".mat",)),),
        "normals": (PartFolder("normals_distill", (".png",)),),
        "edge": (EDGES,),
        "human_parts": (PartFolder("human_parts", (".mat",)),),
        "saliency": (PartFolder("sal_distill", (".png",)),),
    },
    tasks=("semseg", "normals", "edge", "human_parts", "saliency"),
    published={"train": 4_998, "val": 5_105},
    other_form=other_form,
    missing_notes={
        "normals": (
            "normals_distill missing: 10,103 files expected, which cannot be made again; other "
            "archives have them"
        ),
        CONTEXT: "no Context labels (looked for pascal-context/trainval/ID.mat)",
    },
    extra=("human_parts", "saliency"),
    hints={
        "semseg": (
            "`ttt-bench data prepare pascal` makes semseg/pascal-context from the Context labels, "
            "or take these ids out of the list"
        ),
    },
)
