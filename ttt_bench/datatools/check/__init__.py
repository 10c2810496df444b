"""`data check`: what can be said of data sets before hours of work on them."""

from ttt_bench.datatools.check.findings import Finding, Level, exit_code
from ttt_bench.datatools.check.roots import check

__all__ = ["Finding", "Level", "check", "exit_code"]
