"""`data prepare`: commands that turn archives and raw sources into the files that runs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_bench.cli.options import AS_PATH, DataRoot
from ttt_bench.cli.output import Display, say, stdout
from ttt_bench.config.merging import default_data_root
from ttt_bench.errors import BenchError

app = typer.Typer(
    help="Prepare data sets from files that you have downloaded.", no_args_is_help=True
)

Archive = Annotated[
    Path | None,
    typer.Argument(
        help="Downloaded archive of the multi-task release.", show_default=False, **AS_PATH
    ),
]


@app.command("taskonomy")
def taskonomy(
    archives: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Archives to unpack, {building}_{domain}.tar, or folders that contain them.",
            show_default=False,
            **AS_PATH,
        ),
    ] = None,
    *,
    size: Annotated[
        int | None,
        typer.Option(help="Write a cache of square images, SIZE pixels per side (256).", min=16),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Data root that the cache is written to; required with --size.", **AS_PATH
        ),
    ] = None,
    jpeg: Annotated[
        bool,
        typer.Option(
            "--jpeg",
            help="Store the cache's images as JPEG, quality 95: smaller, but lossy. "
            "Default: lossless.",
        ),
    ] = False,
    split: Annotated[
        str | None,
        typer.Option(help="Split in the cache: train or test. Default: all buildings."),
    ] = None,
    edges: Annotated[
        bool,
        typer.Option("--edges", help="Compute missing and damaged edge images from depth."),
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Unpack archives, write a cache of small images, or compute edge images.

    Without archives, --size and --edges it prints how to download Taskonomy.
    """
    from ttt_bench.datatools.prepare.sources import taskonomy_text

    if not archives and size is None and not edges:
        folder = _root(data_root, Path("DATA_ROOT")) / "taskonomy"
        stdout.print(taskonomy_text(folder), markup=False, soft_wrap=True)
        return
    if (size is None) != (out is None):
        raise typer.BadParameter(
            "give --size and --out together: the cache is written to another data root"
        )
    folder, display = _root(data_root) / "taskonomy", Display()
    if archives:
        _unpack_taskonomy(archives, folder, display)
    if edges:
        _make_taskonomy_edges(folder, display)
    if size is not None and out is not None:
        from ttt_bench.datatools.prepare.taskonomy_cache import CacheOptions, write_cache

        options = CacheOptions(size=size, jpeg=jpeg, split=split)
        count = write_cache(folder, out / "taskonomy", options, display)
        say(f"a cache of {count} frames in {out / 'taskonomy'}; use it with --data-root {out}")


def _unpack_taskonomy(archives: list[Path], folder: Path, display: Display) -> None:
    from ttt_bench.datatools.prepare.taskonomy import find_archives, unpack_archives

    count = unpack_archives(find_archives(archives), folder, display)
    say(f"unpacked {count} archives into {folder}")


def _make_taskonomy_edges(folder: Path, display: Display) -> None:
    from ttt_bench.datatools.prepare.taskonomy_edges import make_edges

    say(f"made {make_edges(folder, display)} edge files below {folder}")


@app.command("nyud")
def nyud(
    archive: Archive = None,
    *,
    mat: Annotated[
        Path | None,
        typer.Option(
            help="nyu_depth_v2_labeled.mat, to build the data set from raw frames.", **AS_PATH
        ),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="splits.mat. Default: splits.mat in the folder of --mat.",
            show_default=False,
            **AS_PATH,
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="classMapping40.mat. Default: classMapping40.mat in the folder of --mat.",
            show_default=False,
            **AS_PATH,
        ),
    ] = None,
    raw_depth: Annotated[
        bool,
        typer.Option(
            "--raw-depth", help="With --mat: use the sensor's depth. Default: in-filled depth."
        ),
    ] = False,
    crop: Annotated[
        bool,
        typer.Option("--crop", help="Crop the 480x640 release in the data root to 425x560 pixels."),
    ] = False,
    data_root: DataRoot = None,
) -> None:
    """Unpack an archive, build the data set from raw frames, or crop the 480x640 release."""
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
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            "--voc",
            help="PASCAL VOC 2010, archive or folder, to build the data set from raw sources.",
            **AS_PATH,
        ),
    ] = None,
    context: Annotated[
        Path | None,
        typer.Option(help="With --voc: the Context annotations, archive or folder.", **AS_PATH),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            help="With --voc: folder with the Context lists, train.txt and val.txt.", **AS_PATH
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            help="With --voc: PASCAL VOC 2012, archive or folder, for its class masks (optional).",
            **AS_PATH,
        ),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Unpack an archive, or build the data set from raw sources, and compute edge images.

    Without an archive and raw sources it completes the data set that is in the data root.
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
            f"give an archive ({PASCAL_ARCHIVES}), or raw sources: --voc ({PASCAL_VOC}), "
            f"--context ({PASCAL_CONTEXT}) and --lists ({PASCAL_LISTS})"
        )
    else:
        made = complete(folder, display)
    _done(made, data_root)


def _root(given: Path | None, otherwise: Path | None = None) -> Path:
    """Return the data root of the option, else of the environment, else the last resort."""
    root = given or default_data_root() or otherwise
    if root is None:
        raise BenchError(
            "no data root is set; give the folder to prepare data in with --data-root or the "
            "environment variable TTT_BENCH_DATA"
        )
    return root


def _one_of(given: dict[str, object], message: str) -> None:
    """Raise an error unless exactly one value is given."""
    present = [name for name, value in given.items() if value is not None]
    if not present:
        raise BenchError(message)
    if len(present) > 1:
        raise typer.BadParameter(f"give only one of {', '.join(present)}")


def _done(folder: Path, data_root: Path | None) -> None:
    say(f"{folder} is ready; check it with: ttt-bench data check {_root(data_root)}")
