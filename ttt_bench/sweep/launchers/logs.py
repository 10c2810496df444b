"""The logs of workers: their notices while they run, and the error that ended them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_NOTICE, _ERROR = "note: ", "error: "
_TAIL = 65536
"""Bytes at the end of a log that are searched for the error."""


@dataclass
class Logs:
    """Notices in several logs; each is returned once.

    Attributes:
        paths: the logs; they need not exist.
    """

    paths: Sequence[Path]
    _read: dict[Path, int] = field(default_factory=dict, init=False)
    _seen: set[str] = field(default_factory=set, init=False)

    def skip(self) -> None:
        """Take what is in the logs now, such as that of an earlier run, as read."""
        self._read = {path: path.stat().st_size for path in self.paths if path.exists()}

    def new_notices(self) -> list[str]:
        """Return the notices that were written since the last call."""
        lines = [line for path in self.paths for line in self._new_lines(path)]
        found = [line.removeprefix(_NOTICE) for line in lines if line.startswith(_NOTICE)]
        new = [notice for notice in dict.fromkeys(found) if notice not in self._seen]
        self._seen.update(new)
        return new

    def _new_lines(self, path: Path) -> list[str]:
        start = self._read.get(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read[path] = start + len(whole)
        return whole.decode("utf-8", errors="replace").splitlines()


def last_error(log: Path) -> str:
    """Return the last error in a log, or its last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "it has left no log"
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return (errors or lines or ["its log is empty"])[-1]
