"""What the fingerprint of a set of files rests on: a sample of contents, or all of them.

Without `data check --full`, the fingerprint covers the names and sizes of all files and the
contents of some. With it, the contents of all files are known, and files that changed since are
found. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ttt_bench.data.images.digests import Comparison, compare, key_of, read_digests
from ttt_bench.data.images.files import Indexed, fingerprint, hashed_frames
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed

Basis = Literal["sampled", "full"]


class FilesState(NamedTuple):
    """The state of the files that a split reads.

    Attributes:
        fingerprint: that of `files.fingerprint`. If the contents of a file differ from those that
            the first full check found, and the sample does not cover it, a hash that also covers
            that file.
        basis: "full" if the contents of all files are known, else "sampled".
        digest: a hash of all contents; None if they are not known.
        notices: sentences on files that changed since the last full check.
    """

    fingerprint: str
    basis: Basis
    digest: str | None = None
    notices: tuple[str, ...] = ()


class _File(NamedTuple):
    """A file of a frame, compared with the last full check."""

    name: str
    part: str
    sampled: bool
    found: Comparison


def files_state(
    folder: Path, frames: Indexed, parts: Sequence[str], title: str, progress: Progress
) -> FilesState:
    """Return the state of the files of a data set's frames.

    It depends on contents alone, not on where the files are or when they were copied.

    Args:
        folder: the data set's folder.
        title: name of the data set.

    Raises:
        DataError: a file is missing, cannot be read, or is not a regular file.
    """
    value = fingerprint(frames, parts, f"fingerprinting {title}", progress)
    known = read_digests(folder)
    if not known:
        return FilesState(value, "sampled")
    places = [(index, part) for index in range(len(frames)) for part in parts]
    paths = [frames.path(index, part) for index, part in places]
    sampled = frozenset(hashed_frames(len(frames)))
    compared = compare(folder, known, paths, progress)
    files = [
        _File(frames.name(index), part, index in sampled, found)
        for (index, part), found in zip(places, compared, strict=True)
    ]
    keys = [key_of(folder, path) for path in paths]
    notices = tuple(_notices(title, keys, compared))
    contents = [[file.name, file.part, file.found.now.digest] for file in files if file.found.now]
    if len(contents) < len(files):
        return FilesState(_salted(value, files), "sampled", notices=notices)
    digest = hashlib.sha256(repr(contents).encode(errors="replace")).hexdigest()[:16]
    return FilesState(_salted(value, files), "full", digest, notices)


def _salted(value: str, files: Sequence[_File]) -> str:
    """Return the fingerprint, changed by every change of a file that it does not cover itself."""
    others = [
        [file.name, file.part, now.digest]
        for file in files
        if (now := file.found.now) is not None and not file.sampled and now.digest != now.first
    ]
    return hash_of([value, others], 16) if others else value


def _notices(title: str, keys: Sequence[str], compared: Sequence[Comparison]) -> Iterator[str]:
    pairs = list(zip(keys, compared, strict=True))
    changed = [key for key, found in pairs if found.now is not None and not found.same]
    if changed:
        yield (
            f"{title}: {len(changed)} files changed since `ttt-bench data check --full`: "
            f"{listed(changed)}. Restore them, or run it again to accept them; results of the "
            "earlier contents are not used for the new ones"
        )
    unknown = [key for key, found in pairs if found.now is None]
    if unknown:
        yield (
            f"{title}: {len(unknown)} files were not hashed by `ttt-bench data check --full`: "
            f"{listed(unknown)}; run it again"
        )
