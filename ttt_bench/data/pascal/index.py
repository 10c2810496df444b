"""Where PASCAL-Context's files lie. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import ListedLayout, PartFolder

CONTEXT = "context"
"""The part that holds the 459 Context labels, from which edges are made and by which normals are
masked.
"""
EDGES = PartFolder("edge", (".png",))
"""Where edges are kept once they have been made."""


def other_form(folder: Path) -> str | None:
    """What is wrong with a folder that holds the images of PASCAL VOC, but not the Context data
    set.
    """
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
        f"{inner} holds images of PASCAL VOC without the Context lists (ImageSets/Context/train.txt and val.txt); "
        "`ttt-bench data prepare pascal` makes the data set from them and the Context annotations"
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
    },
    tasks=("semseg", "normals", "edge"),
    published={"train": 4_998, "val": 5_105},
    other_form=other_form,
    missing_notes={
        "normals": (
            "normals_distill missing: 10,103 files expected, which cannot be made anew; other archives have them"
        ),
        CONTEXT: "no Context labels (looked for pascal-context/trainval/ID.mat)",
    },
    hints={
        "semseg": (
            "`ttt-bench data prepare pascal` makes semseg/pascal-context from the Context labels, or take these ids "
            "out of the list"
        ),
    },
)
