"""Report the fingerprint of the files of each split, and store the digests of all files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ttt_bench.data.images.basis import files_state
from ttt_bench.data.images.digests import hash_files, key_of, read_digests, stored_at
from ttt_bench.data.images.files import Indexed
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.errors import BenchError
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed


class SplitFiles(NamedTuple):
    """The files of a split: its name, the frames, and the parts that are read."""

    split: str
    frames: Indexed
    parts: tuple[str, ...]


class SplitFingerprint(NamedTuple):
    """The fingerprint of the files that one split reads, and the number of its frames.

    `notices` are sentences on files that changed since the last full check.
    """

    split: str
    fingerprint: str
    frames: int
    notices: tuple[str, ...]


def check_digests(
    folder: Path, splits: Sequence[SplitFiles], progress: Progress
) -> Iterator[Finding]:
    """Hash every file of the splits, store the digests, and yield the files that changed.

    Raises:
        DataError: a file cannot be read.
    """
    paths = sorted({path for split in splits for path in _paths(split)})
    try:
        before = hash_files(folder, paths, progress)
    except BenchError as error:
        message = f"the digests of the files cannot be stored: {error}"
        yield Finding.warning("contents", message, folder)
        return
    now = read_digests(folder)
    message = (
        f"the digests of all {len(paths)} files are in {stored_at(folder)}; runs name files that "
        "change from now on"
    )
    yield Finding.ok("contents", message, folder, len(paths))
    keys = [key_of(folder, path) for path in paths]
    changed = [key for key in keys if key in before and now[key].digest != before[key].digest]
    if changed:
        message = (
            f"{len(changed)} files changed since the last full check: {listed(changed)}; results "
            "of the earlier contents are not used for the new ones"
        )
        yield Finding.warning("contents", message, folder / changed[0], len(changed))


def fingerprints(
    folder: Path, splits: Sequence[SplitFiles], title: str, progress: Progress
) -> list[SplitFingerprint]:
    """Return the fingerprint of each split, as the data set computes it.

    Raises:
        DataError: a file cannot be read.
    """
    found = []
    for split in splits:
        state = files_state(folder, split.frames, split.parts, title, progress)
        notices = tuple(notice.removeprefix(f"{title}: ") for notice in state.notices)
        found.append(SplitFingerprint(split.split, state.fingerprint, len(split.frames), notices))
    return found


def _paths(split: SplitFiles) -> Iterator[Path]:
    for index in range(len(split.frames)):
        for part in split.parts:
            yield split.frames.path(index, part)


def check_fingerprints(found: Sequence[SplitFingerprint], folder: Path) -> list[Finding]:
    """Return one finding per distinct fingerprint, with the splits that share it.

    A file that changed since the last full check, or that it has not hashed, gives a warning.
    """
    splits: dict[tuple[str, int], list[str]] = {}
    for each in found:
        splits.setdefault((each.fingerprint, each.frames), []).append(each.split)
    notices = dict.fromkeys(notice for each in found for notice in each.notices)
    warnings = [Finding.warning("contents", notice, folder) for notice in notices]
    return warnings + [
        Finding.ok(
            "fingerprint",
            f"{fingerprint} of {', '.join(dict.fromkeys(names))}: {frames} frames",
            folder,
            frames,
        )
        for (fingerprint, frames), names in splits.items()
    ]


def checked_entry(found: Sequence[SplitFingerprint]) -> dict[str, Any]:
    """Return the manifest's entry of the fingerprints that were checked."""
    return {"checked": sorted({each.fingerprint for each in found})}
