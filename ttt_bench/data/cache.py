"""The folder for files that the harness makes again when they are missing. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from ttt_bench.errors import BenchError
from ttt_bench.util.paths import path_from_environment


def cache_folder() -> Path:
    """Return the cache folder: `TTT_BENCH_CACHE`, or the user's cache folder.

    Raises:
        BenchError: neither is known.
    """
    given = path_from_environment("TTT_BENCH_CACHE")
    try:
        return given or Path(platformdirs.user_cache_dir("ttt-bench"))
    except RuntimeError as error:  # HOME is not set, and the user has no entry in passwd
        raise BenchError(
            f"the user's cache folder is unknown ({error}); set TTT_BENCH_CACHE to a folder for "
            "rendered images"
        ) from error
