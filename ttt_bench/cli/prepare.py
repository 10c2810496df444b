"""`data prepare`: from archives and raw sources to what the loaders read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_bench.cli.output import Display, say, stdout
from ttt_bench.cli.sweep import DataRoot
from ttt_bench.errors import BenchError

app = typer.Typer(help="Make data sets ready. Nothing is downloaded.", no_args_is_help=True)

Archive = Annotated[
    Path | None,
    typer.Argument(help="A multi-task archive that has been downloaded.", show_default=False),
]


@app.command("taskonomy")
def taskonomy(
    archives: Annotated[
        list[Path] | None,
        typer.Argument(
            help="{building}_{domain}.tar, or a folder of them, to unpack.", show_default=False
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Write a cache of this many rows and columns, such as 256.", min=16),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The data root that the cache is written to.")
    ] = None,
    jpeg: Annotated[
        bool, typer.Option("--jpeg", help="Keep the cache's images as JPEG 95: smaller, not exact.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Only the buildings of train or test, in the cache.")
    ] = None,
    edges: Annotated[
        bool, typer.Option("--edges", help="Make missing and damaged edges from depth.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Unpack archives, write a cache of small files, or make edges; without anything: how to
    download.
    """
    from ttt_bench.datatools.prepare.sources import taskonomy_text
    from ttt_bench.datatools.prepare.taskonomy import find_archives, unpack_archives
    from ttt_bench.datatools.prepare.taskonomy_cache import CacheOptions, write_cache
    from ttt_bench.datatools.prepare.taskonomy_edges import make_edges

    if not archives and size is None and not edges:
        stdout.print(
            taskonomy_text(_root(data_root, Path("DATA_ROOT")) / "taskonomy"),
            markup=False,
            soft_wrap=True,
        )
        return
    if (size is None) != (out is None):
        raise typer.BadParameter(
            "--size and --out belong together: the cache is written to another data root"
        )
    folder, display = _root(data_root) / "taskonomy", Display()
    if archives:
        say(
            f"unpacked {unpack_archives(find_archives(archives), folder, display)} archives into {folder}"
        )
    if edges:
        say(f"made {make_edges(folder, display)} edge files below {folder}")
    if size is not None and out is not None:
        options = CacheOptions(size=size, jpeg=jpeg, split=split)
        count = write_cache(folder, out / "taskonomy", options, display)
        say(f"a cache of {count} frames in {out / 'taskonomy'}; use it with --data-root {out}")


@app.command("nyud")
def nyud(
    archive: Archive = None,
    mat: Annotated[
        Path | None, typer.Option(help="nyu_depth_v2_labeled.mat, to make the data set of.")
    ] = None,
    splits: Annotated[
        Path | None, typer.Option(help="splits.mat. [default: beside --mat]", show_default=False)
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="classMapping40.mat. [default: beside --mat]", show_default=False),
    ] = None,
    raw_depth: Annotated[
        bool, typer.Option("--raw-depth", help="The sensor's own depth instead of in-filled.")
    ] = False,
    crop: Annotated[
        bool, typer.Option("--crop", help="Crop the 480x640 release that is there to 425x560.")
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Unpack an archive, make the data set of raw frames, or crop the release of whole ones."""
    from ttt_bench.datatools.prepare.nyud import (
        NyudSources,
        prepare_archive,
        prepare_cropped,
        prepare_raw,
    )
    from ttt_bench.datatools.prepare.sources import NYUD_ARCHIVES, NYUD_RAW

    _one_of(
        {"an archive": archive, "--mat": mat, "--crop": crop or None},
        f"give an archive ({NYUD_ARCHIVES}), or the raw frames with --mat ({NYUD_RAW}), or --crop",
    )
    folder, display = _root(data_root) / "nyud", Display()
    if archive is not None:
        made = prepare_archive(archive, folder, display)
    elif mat is not None:
        raw = NyudSources(
            mat=mat,
            splits=splits or mat.with_name("splits.mat"),
            classes=classes or mat.with_name("classMapping40.mat"),
            raw_depth=raw_depth,
        )
        made = prepare_raw(raw, folder, display)
    else:
        made = prepare_cropped(folder, display)
    _done(made, data_root)


@app.command("pascal")
def pascal(
    archive: Archive = None,
    images: Annotated[
        Path | None,
        typer.Option("--voc", help="PASCAL VOC 2010, archive or folder, to make the data set of."),
    ] = None,
    context: Annotated[
        Path | None, typer.Option(help="The Context annotations, archive or folder.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="A folder with the Context lists, train.txt and val.txt.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", help="PASCAL VOC 2012, archive or folder, for its masks of classes."
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Unpack an archive, or make the data set of raw sources; then make edges once, and what
    else labels give.
    """
    from ttt_bench.datatools.prepare.pascal import (
        PascalSources,
        complete,
        prepare_archive,
        prepare_raw,
    )
    from ttt_bench.datatools.prepare.sources import (
        PASCAL_ARCHIVES,
        PASCAL_CONTEXT,
        PASCAL_LISTS,
        PASCAL_VOC,
    )

    folder, display = _root(data_root) / "pascal", Display()
    raw = (images, context, lists)
    if archive is not None and any(raw):
        raise typer.BadParameter("give an archive or raw sources, not both")
    if archive is not None:
        made = prepare_archive(archive, folder, display)
    elif images is not None and context is not None and lists is not None:
        sources = PascalSources(images=images, context=context, lists=lists, masks=masks)
        made = prepare_raw(sources, folder, display)
    elif any(raw) or not folder.is_dir():
        raise BenchError(
            f"give an archive ({PASCAL_ARCHIVES}), or raw sources: --voc ({PASCAL_VOC}), --context ({PASCAL_CONTEXT}) "
            f"and --lists ({PASCAL_LISTS})"
        )
    else:
        made = complete(folder, display)
    _done(made, data_root)


def _root(given: Path | None, otherwise: Path | None = None) -> Path:
    from ttt_bench.config.merging import default_data_root

    root = given or default_data_root() or otherwise
    if root is None:
        raise BenchError(
            "give the folder to prepare data in with --data-root, or in the environment variable TTT_BENCH_DATA"
        )
    return root


def _one_of(given: dict[str, object], message: str) -> None:
    there = [name for name, value in given.items() if value is not None]
    if not there:
        raise BenchError(message)
    if len(there) > 1:
        raise typer.BadParameter(f"give one of {', '.join(there)}, not several")


def _done(folder: Path, data_root: Path | None) -> None:
    say(f"{folder} is ready; look it over: ttt-bench data check {_root(data_root)}")
