"""Methods of other libraries behind the interface `ttt_bench.adapter.Adapter`."""

from ttt_bench.contrib.torch_ttt import from_torch_ttt

__all__ = ["from_torch_ttt"]
