"""NYUD-v2's folders and releases. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ttt_bench.data.images.files import Size
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import ListedLayout, Listing, PartFolder

RAW = "nyu_depth_v2_labeled.mat"
CROPPED: Size = (425, 560)
"""The published size: frames without the border outside the sensor's field of view."""
WHOLE: Size = (480, 640)

RELEASES = {
    ".png": "the ATRC release (NYUDv2, 8-bit normals and edges)",
    ".jpg": "the ASTMT / Vandenhende release (NYUD_MT, normals and edges as arrays)",
}
"""Releases by the suffix of their images."""

_LIBMTL = ("image", "label", "depth", "normal")


def other_form(folder: Path) -> str | None:
    """Return why a folder with another form of NYUD-v2 cannot be used, or None for others."""
    if any(_is_libmtl(folder / split) for split in ("train", "val")):
        return (
            f"{folder} has the LibMTL / MTAN form of NYUv2 (288x384 pixels, 13 classes). It lacks "
            "the classes that the shared label spaces need, and edges; get the 40-class multi-task "
            "archive (NYUDv2 or NYUD_MT) instead"
        )
    if (folder / RAW).is_file():
        return (
            f"{folder} has the raw {RAW}; make the multi-task form from it first: "
            f"ttt-bench data prepare nyud --mat {folder / RAW}"
        )
    return None


def _is_libmtl(folder: Path) -> bool:
    """Return whether a folder is a split in the LibMTL / MTAN form."""
    return all((folder / name).is_dir() for name in _LIBMTL)


LAYOUT = ListedLayout(
    title="NYUD-v2",
    folder="nyud",
    archives=("NYUDv2", "NYUD_MT"),
    lists="gt_sets",
    parts={
        IMAGE: (PartFolder("images", (".png", ".jpg")),),
        "semseg": (PartFolder("segmentation", (".png",)),),
        "depth": (PartFolder("depth", (".npy",)),),
        "normals": (PartFolder("normals", (".png", ".npy")),),
        "edge": (PartFolder("edge", (".png", ".npy")),),
    },
    tasks=("semseg", "depth", "normals", "edge"),
    published={"train": 795, "val": 654},
    other_form=other_form,
)


def release(listing: Listing) -> str:
    """Return the release of the images, in words."""
    suffixes = sorted({path.suffix for path in listing.files[IMAGE].values()})
    return " mixed with ".join(RELEASES[suffix] for suffix in suffixes)


def wrong_release(sizes: Iterable[Size]) -> str | None:
    """Return a notice if images of these sizes are not cropped, else None."""
    whole = sum(size == WHOLE for size in sizes)
    if not whole:
        return None
    return (
        f"NYUD-v2: {whole} images are 480x640: this is the ASTMT/Vandenhende release, not the "
        "425x560 one of the published results. `ttt-bench data prepare nyud --crop` makes it"
    )
