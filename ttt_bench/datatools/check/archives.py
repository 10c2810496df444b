"""Find archives in a data set's folder: interrupted downloads and archives not yet unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.prepare.archives import SUFFIXES, download_state, list_members
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent


def check_archives(folder: Path) -> Iterator[Finding]:
    """Yield one finding per archive in a folder.

    Compressed tar archives are not read, because that takes minutes, unless their download is
    known to be incomplete.
    """
    paths = {path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}")}
    for path in sorted(paths):
        if path.is_file():
            yield _check_archive(path)


def _check_archive(path: Path) -> Finding:
    try:
        if path.suffix in (".tar", ".zip") or download_state(path) is not None:
            list_members(path, Silent())
    except DataError as error:
        return Finding.warning("layout", str(error), path)
    message = f"{path.name} is an archive, which is not read; `ttt-bench data prepare` unpacks it"
    return Finding.ok("layout", message, path)
