"""Read the raw sources of NYUD-v2: the labelled frames, the split and the class mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.nyud.decode import MAX_LABEL
from ttt_bench.data.nyud.index import WHOLE
from ttt_bench.datatools.prepare.sources import NYUD_CLASSES, NYUD_RAW, NYUD_SPLITS
from ttt_bench.errors import DataError
from ttt_bench.util.extras import import_optional
from ttt_bench.util.os_errors import advice, explained_reading, unreadable

DATASETS = ("images", "depths", "rawDepths", "labels", "instances")
RAW_LABELS = 894

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MATLAB_5 = b"MATLAB 5.0"


@dataclass(frozen=True, kw_only=True)
class RawFrame:
    """A labelled frame of 480x640 pixels, upright.

    Attributes:
        rgb: (H, W, 3) uint8.
        metres: (H, W) float32, in-filled depth; 0 is invalid.
        raw_metres: (H, W) float32, depth of the sensor; 0 is invalid.
        labels: (H, W) uint16, 0 (unlabelled) to 894.
        instances: (H, W) uint8, number of the object within its label.
    """

    rgb: NDArray[np.uint8]
    metres: NDArray[np.float32]
    raw_metres: NDArray[np.float32]
    labels: NDArray[np.uint16]
    instances: NDArray[np.uint8]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield the open HDF5 file of the labelled frames, which has the data sets `DATASETS`.

    Raises:
        DataError: the file is missing, incomplete, of another format, or lacks data sets.
    """
    _require_hdf5(path)
    h5py = import_optional("h5py", "reading nyu_depth_v2_labeled.mat")
    try:
        # without a lock: another program may have locked the file, or the disk may not offer locks
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        if advice(error):
            raise unreadable(path, error) from error
        raise DataError(
            f"{path}: incomplete or damaged HDF5 file, {path.stat().st_size:,} bytes ({error}). "
            f"Wanted: {NYUD_RAW}"
        ) from error
    with file:
        absent = [name for name in DATASETS if name not in file]
        if absent:
            raise DataError(f"{path}: has no {', '.join(absent)}. Wanted: {NYUD_RAW}")
        _require_frames(path, file)
        yield file


def _require_frames(path: Path, file: Any) -> None:
    """Raise an error unless all data sets are arrays of the same number of frames."""
    shapes = {name: getattr(file[name], "shape", None) for name in DATASETS}
    flat = [name for name, shape in shapes.items() if not shape]
    if flat:
        raise DataError(
            f"{path}: {', '.join(flat)} must be an array with one entry per frame, not a group or "
            f"a single value. Wanted: {NYUD_RAW}"
        )
    counts = {name: shape[0] for name, shape in shapes.items() if shape}
    if len(set(counts.values())) > 1:
        raise DataError(f"{path}: differing numbers of frames ({counts}); download it again")


def read_frame(file: Any, number: int) -> RawFrame:
    """Return a frame by its number, counted from 1.

    Raises:
        DataError: the frame cannot be read, has another shape, or a depth that is negative or not
            finite.
    """
    try:
        # MATLAB stores columns first, so all axes are reversed
        arrays: Mapping[str, NDArray[Any]] = {name: file[name][number - 1].T for name in DATASETS}
    except OSError as error:
        raise DataError(
            f"{file.filename}: frame {number} cannot be read ({error}); download the file again"
        ) from error
    for name, array in arrays.items():
        expected = (*WHOLE, 3) if name == "images" else WHOLE
        if array.shape != expected:
            raise DataError(
                f"{file.filename}: {name} of frame {number} has the shape {array.shape}, expected "
                f"{expected}. Wanted: {NYUD_RAW}"
            )
    for name in ("depths", "rawDepths"):
        depth = arrays[name]
        if not (np.isfinite(depth) & (depth >= 0)).all():
            raise DataError(
                f"{file.filename}: {name} of frame {number} has values that are negative or not "
                "finite; 0 marks a pixel without depth. Download the file again"
            )
    return RawFrame(
        rgb=np.ascontiguousarray(arrays["images"], dtype=np.uint8),
        metres=np.ascontiguousarray(arrays["depths"], dtype=np.float32),
        raw_metres=np.ascontiguousarray(arrays["rawDepths"], dtype=np.float32),
        labels=np.ascontiguousarray(arrays["labels"], dtype=np.uint16),
        instances=np.ascontiguousarray(arrays["instances"], dtype=np.uint8),
    )


def read_splits(path: Path, count: int) -> dict[str, list[int]]:
    """Return the frame numbers, counted from 1, of the lists train and val.

    Args:
        count: the number of frames.

    Raises:
        DataError: the file is missing or of another format; or a number is out of range, occurs
            twice, or is in both lists.
    """
    content = _matlab_5(path, NYUD_SPLITS)
    lists = {}
    for name, key in (("train", "trainNdxs"), ("val", "testNdxs")):
        if key not in content:
            raise DataError(f"{path}: has no {key}. Wanted: {NYUD_SPLITS}")
        numbers = [int(number) for number in np.asarray(content[key]).ravel()]
        strange = [number for number in numbers if not 1 <= number <= count]
        if strange or len(set(numbers)) != len(numbers) or not numbers:
            raise DataError(
                f"{path}: {key} must contain different frame numbers in 1..{count}, got "
                f"{strange or numbers}. Wanted: {NYUD_SPLITS}"
            )
        lists[name] = numbers
    both = set(lists["train"]) & set(lists["val"])
    if both:
        raise DataError(f"{path}: frame {min(both)} is in both lists. Wanted: {NYUD_SPLITS}")
    return lists


def read_classes(path: Path) -> NDArray[np.uint8]:
    """Return the id in 0..40 of each raw label, (895,); 0 is unlabelled in both.

    Raises:
        DataError: the file is missing or of another format.
    """
    content = _matlab_5(path, NYUD_CLASSES)
    mapped = np.asarray(content.get("mapClass", [])).ravel()
    if mapped.size != RAW_LABELS or mapped.min() < 1 or mapped.max() > MAX_LABEL:
        raise DataError(
            f"{path}: mapClass must contain {RAW_LABELS} ids in 1..{MAX_LABEL}. "
            f"Wanted: {NYUD_CLASSES}"
        )
    return np.concatenate([[0], mapped]).astype(np.uint8)


def _require_hdf5(path: Path) -> None:
    """Raise an error if a file is missing or lacks the signature of HDF5."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. Wanted: {NYUD_RAW}")
    size = path.stat().st_size
    with explained_reading(path), path.open("rb") as file:
        start, offset = file.read(512), 0
        # the signature may follow a user block of 512 bytes times a power of 2
        while offset < size:
            file.seek(offset)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return
            offset = 2 * offset or 512
    raise DataError(
        f"{path}: not an HDF5 file: {size:,} bytes, {_looks_like(start)}. Wanted: {NYUD_RAW}"
    )


def _looks_like(start: bytes) -> str:
    """Describe a file by its first bytes."""
    if not start:
        return "empty"
    if start.startswith(_MATLAB_5):
        return "looks like an older MATLAB file"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "looks like a web page"
    return (
        "looks like text" if start.isascii() and b"\0" not in start else "looks like something else"
    )


def _matlab_5(path: Path, wanted: str) -> Mapping[str, Any]:
    """Return the variables of a MATLAB 5 file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. Wanted: {wanted}")
    io = import_optional("scipy.io", f"reading {path.name}")
    try:
        content: Mapping[str, Any] = io.loadmat(path)
    except Exception as error:  # scipy and zlib raise many types on damaged files
        raise DataError(
            f"{path}: not a MATLAB 5 file, or truncated ({error}). Wanted: {wanted}"
        ) from error
    return content
