"""The state of the Python process that the numbers of a run depend on.

Grad mode, default dtype, precision flags, hooks of all modules and the code of PyTorch's layers
belong to the process, not to a run. `fixed_process` keeps the caller's settings out of a run,
`watched` finds what a plugin changes, and `refuse_replaced_code` what was replaced before a run.
`named_operation` explains the error of an operation without a deterministic kernel.
"""

from ttt_bench.util.process.guard import fixed_process, refuse_replaced_code, watched
from ttt_bench.util.process.kernels import named_operation

__all__ = ["fixed_process", "named_operation", "refuse_replaced_code", "watched"]
