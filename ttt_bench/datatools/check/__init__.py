"""`data check`: report the problems of data sets before a run uses them."""

from ttt_bench.datatools.check.findings import Finding, Level, exit_code
from ttt_bench.datatools.check.roots import check

__all__ = ["Finding", "Level", "check", "exit_code"]
