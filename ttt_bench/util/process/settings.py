"""Settings of the process: how each is read and written, and its value during a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimisers
from torch.utils import _device

from ttt_bench.util.process import stacks
from ttt_bench.util.process.kernels import CUBLAS, WORKSPACE

KEEP: Any = object()
"""The value `fixed` of a setting that a run takes over from its caller."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of the process.

    Attributes:
        name: the setting in error messages.
        read: returns its value.
        write: sets its value.
        fixed: its value during a run, or `KEEP`.
        deterministic: its value during a run with deterministic kernels, or `KEEP` for `fixed`.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    fixed: Any = KEEP
    deterministic: Any = KEEP

    def wanted(self, *, deterministic: bool) -> Any:
        """Return its value during a run, or `KEEP`."""
        own = deterministic and self.deterministic is not KEEP
        return self.deterministic if own else self.fixed

    def put(self, value: Any) -> None:
        """Set the value, unless the setting has it already."""
        if self.read() != value:
            self.write(value)


def _flag(
    owner: Any, attribute: str, name: str, *, fixed: Any, deterministic: Any = KEEP
) -> Setting:
    """Return the setting that an attribute of an object or module holds."""
    return Setting(
        name=name,
        read=partial(getattr, owner, attribute),
        write=partial(setattr, owner, attribute),
        fixed=fixed,
        deterministic=deterministic,
    )


def _table(owner: Any, attribute: str) -> Setting:
    """Return the setting that a dictionary of hooks holds; during a run it is empty."""
    table = getattr(owner, attribute)

    def write(entries: tuple[tuple[Any, Any], ...]) -> None:
        table.clear()
        table.update(entries)

    return Setting(
        name=f"{owner.__name__}.{attribute}",
        read=lambda: tuple(table.items()),
        write=write,
        fixed=(),
    )


def _gradients() -> Iterator[Setting]:
    # inference mode comes first: it sets the grad mode, too
    yield Setting(
        name="the inference mode",
        read=torch.is_inference_mode_enabled,
        write=stacks.set_inference_mode,
        fixed=False,
    )
    yield Setting(
        name="the grad mode",
        read=torch.is_grad_enabled,
        write=torch._C._set_grad_enabled,
        fixed=True,
    )
    yield Setting(
        name="the anomaly detection of autograd",
        read=torch.is_anomaly_enabled,
        write=torch.autograd.set_detect_anomaly,
        fixed=False,
    )
    for stack in (stacks.SAVED_TENSOR_HOOKS, stacks.FUNCTION_MODES, stacks.DISPATCH_MODES):
        yield Setting(name=stack.name, read=stack.read, write=stack.write, fixed=())


_AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps", "mtia", "maia", "ipu", "hpu", "xla")


def _types() -> Iterator[Setting]:
    for device in filter(torch.amp.is_autocast_available, _AUTOCAST_DEVICES):
        yield Setting(
            name=f"autocast on {device}",
            read=partial(torch.is_autocast_enabled, device),
            write=partial(torch.set_autocast_enabled, device),
            fixed=False,
        )
    yield Setting(
        name="the default dtype",
        read=torch.get_default_dtype,
        write=torch.set_default_dtype,
        fixed=torch.float32,
    )
    # the mode that fills in the default device is one of `stacks.FUNCTION_MODES`
    context = torch._GLOBAL_DEVICE_CONTEXT
    yield Setting(
        name="the default device",
        read=lambda: (_device.CURRENT_DEVICE, getattr(context, "device_context", None)),
        write=_set_default_device,
        fixed=(None, None),
    )


def _set_default_device(value: tuple[Any, Any]) -> None:
    _device.CURRENT_DEVICE, torch._GLOBAL_DEVICE_CONTEXT.device_context = value


def _precision() -> Iterator[Setting]:
    """Yield the settings that let operations on float32 round to fewer bits.

    By default cuDNN rounds the inputs of convolutions to 10 bits (TF32).
    """
    legacy: list[tuple[Callable[[], Any], Callable[[Any], object], Any]] = [
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
        (torch._C._get_cudnn_allow_tf32, torch._C._set_cudnn_allow_tf32, False),
        (torch._C._get_cublas_allow_tf32, torch._C._set_cublas_allow_tf32, False),
    ]
    for read, write, fixed in legacy:
        name = f"the precision of float32 ({write.__name__.lstrip('_')})"
        yield Setting(
            name=name,
            read=partial(_readable, read),
            write=partial(_write_readable, write),
            fixed=fixed,
        )
    if hasattr(torch._C, "_get_fp32_precision_getter"):
        yield Setting(
            name="the precision of float32 (fp32_precision)",
            read=_precisions,
            write=_set_precisions,
            fixed=("ieee",) * len(_OPERATIONS),
        )


def _readable(read: Callable[[], Any]) -> Any:
    """Return what `read` returns; None if the newer settings contradict the older one."""
    try:
        return read()
    except RuntimeError:
        return None


def _write_readable(write: Callable[[Any], object], value: Any) -> None:
    """Write what `_readable` returned; the newer settings restore the rest."""
    if value is not None:
        write(value)


_OPERATIONS = tuple(
    [("generic", "all")]
    + [(kind, part) for kind in ("cuda", "mkldnn") for part in ("all", "matmul", "conv", "rnn")]
)
"""(backend, operation) of every precision of float32 in recent versions of PyTorch."""


def _precisions() -> tuple[str, ...]:
    return tuple(torch._C._get_fp32_precision_getter(*operation) for operation in _OPERATIONS)


def _set_precisions(values: tuple[str, ...]) -> None:
    for operation, value in zip(_OPERATIONS, values, strict=True):
        torch._C._set_fp32_precision_setter(*operation, value)


def _backends() -> Iterator[Setting]:
    cudnn, mkldnn, cuda = torch.backends.cudnn, torch.backends.mkldnn, torch.backends.cuda
    yield _flag(cudnn, "enabled", "torch.backends.cudnn.enabled", fixed=True)
    yield _flag(cudnn, "benchmark", "torch.backends.cudnn.benchmark", fixed=False)
    yield _flag(
        cudnn,
        "deterministic",
        "torch.backends.cudnn.deterministic",
        fixed=False,
        deterministic=True,
    )
    yield _flag(mkldnn, "enabled", "torch.backends.mkldnn.enabled", fixed=True)
    yield _flag(
        mkldnn,
        "deterministic",
        "torch.backends.mkldnn.deterministic",
        fixed=False,
        deterministic=True,
    )
    yield Setting(
        name="torch.backends.nnpack",
        read=torch._C._get_nnpack_enabled,
        write=torch._C._set_nnpack_enabled,
        fixed=True,
    )
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        yield Setting(
            name=f"torch.backends.cuda.enable_{kind}_sdp",
            read=getattr(cuda, f"{kind}_sdp_enabled"),
            write=getattr(cuda, f"enable_{kind}_sdp"),
            fixed=True,
        )
    yield Setting(
        name="torch.backends.mha",
        read=torch.backends.mha.get_fastpath_enabled,
        write=torch.backends.mha.set_fastpath_enabled,
        fixed=True,
    )
    yield Setting(
        name="torch.use_deterministic_algorithms",
        read=lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        write=lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        fixed=(False, False),
        deterministic=(True, False),
    )
    yield Setting(
        name=f"the environment variable {CUBLAS}",
        read=partial(os.environ.get, CUBLAS),
        write=_set_workspace,
        deterministic=WORKSPACE,
    )


def _set_workspace(value: str | None) -> None:
    if value is None:
        os.environ.pop(CUBLAS, None)
    else:
        os.environ[CUBLAS] = value


def _hooks() -> Iterator[Setting]:
    for name in sorted(vars(modules)):
        if name.startswith("_global_") and isinstance(getattr(modules, name), dict):
            yield _table(modules, name)
    yield _flag(modules, "_global_is_full_backward_hook", "the global backward hooks", fixed=None)
    yield _table(optimisers, "_global_optimizer_pre_hooks")
    yield _table(optimisers, "_global_optimizer_post_hooks")


def _machine() -> Iterator[Setting]:
    yield Setting(
        name="the number of threads", read=torch.get_num_threads, write=torch.set_num_threads
    )
    yield Setting(
        name="the flushing of denormal numbers",
        read=_flushes_denormals,
        write=torch.set_flush_denormal,
        fixed=False,
    )
    yield Setting(
        name="NumPy's handling of floating-point errors",
        read=np.geterr,
        write=lambda value: np.seterr(**value),
        fixed={"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    )
    yield Setting(name="the current folder", read=_folder, write=_enter)


def _flushes_denormals() -> bool:
    smallest = sys.float_info.min
    return smallest * 0.5 == 0.0


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _enter(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


SETTINGS: tuple[Setting, ...] = (
    *_gradients(),
    *_types(),
    *_precision(),
    *_backends(),
    *_hooks(),
    *_machine(),
)
"""Every setting, in the order in which they are written."""
