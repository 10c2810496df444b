"""The state of the Python process that the numbers of a run depend on.

Grad mode, default dtype, precision flags, hooks of all modules and the code of PyTorch's layers
belong to the process, not to a run. `fixed_process` keeps the caller's state out of a run, and
`watched` finds what a plugin changes.
"""

from ttt_bench.util.process.guard import fixed_process, watched

__all__ = ["fixed_process", "watched"]
