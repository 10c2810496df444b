"""The tiny split and known facts about its buildings, as data. Imports no torch.

Sources: `train_val_test_tiny.csv` of the Taskonomy repository (names and order), MultiMAE's frame
lists (counts), issue threads of the data set's repositories (damage).
"""

from __future__ import annotations

TINY: dict[str, tuple[str, ...]] = {
    "train": (
        "hanson", "merom", "klickitat", "onaga", "leonardo", "marstons", "newfields", "pinesdale",
        "lakeville", "cosmos", "benevolence", "pomaria", "tolstoy", "shelbyville", "allensville",
        "wainscott", "beechwood", "coffeen", "stockman", "hiteman", "woodbine", "lindenwood",
        "forkland", "mifflinburg", "ranchester",
    ),
    "val": ("wiconisco", "corozal", "collierville", "markleeville", "darden"),
    "test": ("ihlen", "muleshoe", "uvalda", "noxapater", "mcdade"),
}  # fmt: skip
"""Buildings of the tiny split, in the order of the published file."""

KNOWN: frozenset[str] = frozenset(name for names in TINY.values() for name in names)

EXCLUDED: dict[str, str] = {
    "woodbine": (
        "building woodbine is excluded by the downloader because an archive is corrupt; the "
        "published results exclude it too. Nothing to do."
    ),
    "wiconisco": (
        "wiconisco is left out by default, as in the official code; its edge_texture files are "
        "damaged (not needed here). Nothing to do."
    ),
}
"""Buildings that are never used, with a notice for each."""

DAMAGED: frozenset[tuple[str, str]] = frozenset(
    {("newfields", "point_1070_view_8"), ("muleshoe", "point_399_view_5")}
)
"""Frames whose published rgb file is damaged; they are left out."""

FRAMES: dict[str, int] = {
    "ihlen": 9_007,
    "muleshoe": 12_072,
    "uvalda": 14_147,
    "noxapater": 4_436,
    "mcdade": 14_852,
    "darden": 13_390,
    "markleeville": 7_809,
    "corozal": 11_290,
    "collierville": 3_285,
}
"""Number of frames of a complete building, for buildings in a public list."""

PUBLISHED_TEST = 5_451
"""Test images of the published results: a tenth of the test buildings' 54,514 frames."""


def wanted(split: str) -> tuple[str, ...]:
    """Return the buildings of a split's images, in order, without the excluded ones.

    Training includes the validation buildings, as in the published results; `val` is a hundredth
    of those.
    """
    names = {
        "train": TINY["train"] + TINY["val"],
        "val": TINY["val"],
        "test": TINY["test"],
        "tune": TINY["test"],
    }
    return tuple(name for name in names[split] if name not in EXCLUDED)
