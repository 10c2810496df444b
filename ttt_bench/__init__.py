"""ttt-bench: a benchmark for test-time training and adaptation on multi-task dense prediction.

`run` and `write_report` do the same as the commands `run` and `report`; `open_results` returns the
results of folders with tables, intervals and comparisons, and `read_results` the rows of a folder.
`run` raises a `SweepError` if cells failed; a user's mistake is a `BenchError`. Each is imported
when it is first used, because PyTorch and pandas are slow to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ttt_bench.analysis.results import Results as Results
    from ttt_bench.analysis.results import open_results as open_results
    from ttt_bench.api import run as run
    from ttt_bench.api import write_report as write_report
    from ttt_bench.errors import BenchError as BenchError
    from ttt_bench.results.failures import SweepError as SweepError
    from ttt_bench.results.store import read_results as read_results

__version__ = "0.1.0"
__all__ = [
    "BenchError",
    "Results",
    "SweepError",
    "__version__",
    "open_results",
    "read_results",
    "run",
    "write_report",
]

_MODULES = {
    "BenchError": "ttt_bench.errors",
    "Results": "ttt_bench.analysis.results",
    "open_results": "ttt_bench.analysis.results",
    "SweepError": "ttt_bench.results.failures",
    "run": "ttt_bench.api",
    "write_report": "ttt_bench.api",
    "read_results": "ttt_bench.results.store",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
