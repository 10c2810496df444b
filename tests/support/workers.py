"""Programs in place of workers."""

from __future__ import annotations

from pathlib import Path


def saving_worker(tmp_path: Path) -> str:
    """Return a program that writes `ready<N>` and, at SIGTERM, `saved<N>` in a folder."""
    return (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'saved' + sys.argv[1]).touch()\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"pathlib.Path({str(tmp_path)!r}, 'ready' + sys.argv[1]).touch()\n"
        "time.sleep(60)\n"
    )
