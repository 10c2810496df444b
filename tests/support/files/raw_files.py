"""Write small archives, and the raw sources of data sets, in the real formats."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from PIL import Image

from support.files.inside import inside
from ttt_bench.util.atomic import TEMPORARY_MARK
from ttt_bench.util.owner import machine
from ttt_bench.util.progress import Silent

RAW_LABELS = (0, 5, 17, 19, 24, 83, 124, 157, 894)
CLASS_OF = {5: 5, 17: 24, 19: 7, 24: 34, 83: 6, 124: 33, 157: 4, 894: 40}
"""The 40-class id of each raw label of NYUD-v2 that `write_mat` uses; others are made up."""
TRAIN, TEST = (2, 3), (1,)


def pack(archive: Path, folder: Path, above: str = "") -> Path:
    """Pack all files below a folder as .tar, .tar.gz, .tgz or .zip, below the folder `above`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [str(Path(above) / path.relative_to(folder)) for path in files]
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for path, name in zip(files, names, strict=True):
                content.write(path, name)
    else:
        with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as content:
            for path, name in zip(files, names, strict=True):
                content.add(path, name)
    return archive


def tar_of(archive: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Write a .tar or .tgz with these members, valid or not."""
    with tarfile.open(archive, "w" if archive.suffix == ".tar" else "w:gz") as content:
        for info, data in members:
            content.addfile(info, io.BytesIO(data))
    return archive


def member(
    name: str, data: bytes = b"data", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    """Return the header of a member."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data) if kind == tarfile.REGTYPE else 0, kind, link
    return info


def write_mat(path: Path, frames: int = 3, userblock: int = 512) -> Path:
    """Write NYUD-v2's labelled frames like MATLAB 7.3: HDF5 after a text header, all axes reversed.

    Frames show the room of `inside` at 480x640 with the data set's camera; the top left corner is
    bright.
    """
    with h5py.File(path, "w", userblock_size=userblock) as file:
        made = [_frame(number) for number in range(frames)]
        for name in made[0]:
            stacked = np.stack([frame[name].T for frame in made])
            file.create_dataset(name, data=stacked, compression="gzip", compression_opts=1)
        file.create_dataset("names", data=np.arange(894))
    if userblock:
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


def _frame(number: int) -> dict[str, np.ndarray]:
    room = inside((480, 640), (518.858, 519.470), (325.582, 253.736), 0.1 * number)
    picture = np.full((480, 640, 3), 60 + 20 * number, np.uint8)
    picture[45:105, 40:100] = 250
    labels = np.zeros((480, 640), np.uint16)
    for at, label in enumerate(RAW_LABELS):
        labels[100:300, 60 * at : 60 * at + 60] = label
    instances = np.where(labels > 0, 1, 0).astype(np.uint8)
    instances[200:, 60:120] = 2  # a second chair
    raw = room.metres.copy()
    raw[150:160] = 0
    depths = {"depths": room.metres.astype(np.float32), "rawDepths": raw.astype(np.float32)}
    return {"images": picture, **depths, "labels": labels, "instances": instances}


def write_splits(path: Path, train: tuple[int, ...] = TRAIN, test: tuple[int, ...] = TEST) -> Path:
    """Write splits.mat."""
    columns = {
        name: np.array(numbers, np.uint16)[:, None]
        for name, numbers in (("trainNdxs", train), ("testNdxs", test))
    }
    scipy.io.savemat(path, columns)
    return path


def write_classes(path: Path) -> Path:
    """Write classMapping40.mat."""
    mapped = np.full((1, 894), 38, np.uint8)
    for label, number in CLASS_OF.items():
        mapped[0, label - 1] = number
    scipy.io.savemat(path, {"mapClass": mapped})
    return path


def write_voc(root: Path, names: Iterable[str], folder: str, suffix: str) -> Path:
    """Write images of PASCAL VOC into their folder, and one more that is in no list."""
    (root / folder).mkdir(parents=True)
    for name in (*names, "2007_999999"):
        Image.fromarray(np.full((20, 30), 9, np.uint8)).save(root / folder / f"{name}{suffix}")
    return root


class Stopping(Silent):
    """A display that interrupts, as Ctrl-C does, at step n of the bar with a title."""

    def __init__(self, title: str, step: int) -> None:
        self._title, self._step = title, step

    @contextmanager
    def bar(self, title, total, done=0):
        yield _Fuse(self._step if title.startswith(self._title) else None)


class _Fuse:
    def __init__(self, step) -> None:
        self._left = step

    def advance(self, amount=1, note=""):
        if self._left is not None:
            self._left -= amount
            if self._left <= 0:
                raise KeyboardInterrupt


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def half_written(folder: Path) -> list[Path]:
    """Return temporary files that were left behind."""
    return [path for path in folder.rglob("*") if ".tmp-" in path.name]


def left_by_killed_process(path: Path) -> Path:
    """Write the temporary file that a killed process leaves when it writes `path`."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    path.parent.mkdir(parents=True, exist_ok=True)
    left = path.with_name(f".{path.name}{TEMPORARY_MARK}{machine()}-{ended.pid}-0a1b2c3d")
    left.write_bytes(b"half")
    return left
