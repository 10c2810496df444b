"""Archives that lie where a data set is looked for: interrupted downloads, and what has not been
unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.prepare.archives import SUFFIXES, download_state, list_members
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent


def check_archives(folder: Path) -> Iterator[Finding]:
    """A line for each archive in a folder; compressed ones are not read through, which takes
    minutes.
    """
    for path in sorted(
        path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}") if path.is_file()
    ):
        try:
            if path.suffix in (".tar", ".zip") or download_state(path) is not None:
                list_members(path, Silent())
        except DataError as error:
            yield Finding("warning", "layout", str(error), path)
        else:
            message = (
                f"{path.name} is an archive, which is not read; `ttt-bench data prepare` unpacks it"
            )
            yield Finding("ok", "layout", message, path)
