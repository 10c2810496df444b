"""Write data roots with every real domain, small or with images of the published sizes."""

from __future__ import annotations

from pathlib import Path

from support.files import nyud_files, pascal_files, taskonomy_files

TASKONOMY = ("point_0_view_0", "point_1_view_0")
NYUD = {"train": ("0003", "n5"), "val": ("0001", "0002_x", "0009")}
PASCAL = {"train": ("2008_000008", "2008_000015"), "val": ("2010_000001", "2010_000002")}
PASCAL_SIZES = ((375, 500), (500, 333))  # rows, columns; taken in turn


def published(root: Path) -> Path:
    """Write images of real sizes: Taskonomy 512x512, NYUD-v2 425x560, PASCAL-Context up to 500.

    Seeds count as in `nyud_files.write` and `pascal_files.write`. Those of Taskonomy's test
    building are 2 and 3.
    """
    taskonomy_files.write(root / "taskonomy", {"hanson": TASKONOMY, "ihlen": TASKONOMY}, size=512)
    nyud_files.write(root / "nyud", ids=NYUD, size=(425, 560))
    pascal = pascal_files.write(root / "pascal", ids=PASCAL, folders=())
    for seed, name in enumerate(name for names in PASCAL.values() for name in names):
        view = pascal_files.view(PASCAL_SIZES[seed % 2], seed)
        pascal_files.write_view(pascal, name, view, voc=seed % 2 == 0)
    return root


def small(root: Path) -> Path:
    """Write images of 48 to 100 pixels per side."""
    taskonomy_files.write(root / "taskonomy", ("hanson", "corozal", "ihlen"))
    nyud_files.write(root / "nyud")
    pascal_files.write(root / "pascal")
    return root
