"""A run is fenced off from its caller's process, and a plugin's changes of it are found."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_full_backward_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ttt_bench.errors import BenchError, ProcessError
from ttt_bench.losses import Recipe
from ttt_bench.methods.tent import Tent
from ttt_bench.metrics import delta
from ttt_bench.util.process import fixed_process, refuse_replaced_code, watched
from ttt_bench.util.process.settings import SETTINGS


def numbers() -> list[Tensor]:
    """Return what a small network computes, makes and learns."""
    draw = torch.Generator(device="cpu").manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-1, 1, generator=draw)
    features = net(torch.rand(4, 3, 9, 9, generator=draw))
    attended = F.scaled_dot_product_attention(*(features.view(4, 2, 49, 4),) * 3)
    (features @ features.T + attended.mean()).mean().backward()
    rows = torch.as_tensor(np.zeros(1) / np.ones(1) * 1e-300)
    gradients = [parameter.grad.clone() for parameter in net.parameters()]  # type: ignore[union-attr]
    return [features.detach(), attended.detach(), rows, torch.ones(2) * 1e-40, *gradients]


class Doubling(TorchFunctionMode):
    """Doubles every matrix product."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * 2 if func is torch.Tensor.matmul else found


class Halving(TorchDispatchMode):
    """Halves every matrix product."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found / 2 if func is torch.ops.aten.mm.default else found


def setting(write: Callable[[Any], Any], *, inside: Any, outside: Any) -> Any:
    """Return a context with a setting of the process changed."""

    @contextmanager
    def changed() -> Iterator[None]:
        write(inside)
        try:
            yield
        finally:
            write(outside)

    return changed


def hooked(register: Callable[[Any], Any], hook: Callable[..., Any]) -> Any:
    """Return a context with a global hook."""

    @contextmanager
    def changed() -> Iterator[None]:
        handle = register(hook)
        try:
            yield
        finally:
            handle.remove()

    return changed


def flag(owner: Any, name: str, *, inside: Any) -> Any:
    """Return a context with a flag of a backend changed."""
    return setting(
        lambda value: setattr(owner, name, value), inside=inside, outside=getattr(owner, name)
    )


PACKED = torch.autograd.graph.saved_tensors_hooks(lambda x: x * 2, lambda x: x)
CALLERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast for a GPU": setting(
        partial(torch.set_autocast_enabled, "cuda"), inside=True, outside=False
    ),
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "double precision": setting(
        torch.set_default_dtype, inside=torch.float64, outside=torch.float32
    ),
    "default device": setting(torch.set_default_device, inside="meta", outside=None),
    "device context": lambda: torch.device("meta"),
    "function mode": Doubling,
    "dispatch mode": Halving,
    "saved tensors": lambda: PACKED,
    "anomaly detection": torch.autograd.detect_anomaly,
    "matmul precision": setting(
        torch.set_float32_matmul_precision, inside="medium", outside="highest"
    ),
    "TF32": flag(torch.backends.cuda.matmul, "allow_tf32", inside=True),
    "mkldnn": flag(torch.backends.mkldnn, "enabled", inside=False),
    "cuDNN": flag(torch.backends.cudnn, "benchmark", inside=True),
    "attention": setting(torch.backends.cuda.enable_flash_sdp, inside=False, outside=True),
    "determinism": setting(torch.use_deterministic_algorithms, inside=True, outside=False),
    "denormals": setting(torch.set_flush_denormal, inside=True, outside=False),
    "NumPy": lambda: np.errstate(all="raise"),
    "forward hook": hooked(register_module_forward_hook, lambda m, args, out: out + 1),
    "backward hook": hooked(
        register_module_full_backward_hook, lambda m, inputs, _: tuple(x and x for x in inputs)
    ),
    "registration hook": hooked(
        register_module_parameter_registration_hook,
        lambda m, name, p: nn.Parameter(p.detach() + 1),
    ),
}

if hasattr(torch.backends, "fp32_precision"):  # from PyTorch 2.9 on
    CALLERS["newer TF32"] = flag(torch.backends, "fp32_precision", inside="tf32")


def state() -> list[Any]:
    return [setting.read() for setting in SETTINGS]


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.filterwarnings("ignore:In CPU autocast")
@pytest.mark.parametrize("caller", CALLERS)
def test_a_caller_changes_no_number_and_keeps_its_state(caller: str) -> None:
    expected = numbers()
    with CALLERS[caller]():
        own = state()
        with fixed_process():
            found = numbers()
        assert state() == own
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


def test_the_disturbances_of_these_tests_disturb() -> None:
    expected = numbers()
    for caller in ("autocast", "double precision", "dispatch mode", "denormals", "forward hook"):
        with CALLERS[caller]():
            found = numbers()
        equal = [
            torch.equal(one.double(), other.double())
            for one, other in zip(expected, found, strict=True)
        ]
        assert not all(equal), caller


@fixed_process()
@fixed_process()
def _disturb_and_fail() -> None:
    assert torch.is_grad_enabled()
    torch.set_default_dtype(torch.float64)
    raise ZeroDivisionError


def test_blocks_nest_and_an_error_leaves_the_callers_state() -> None:
    with torch.no_grad():
        before = state()
        with pytest.raises(ZeroDivisionError):
            _disturb_and_fail()
        assert state() == before
        assert not torch.is_grad_enabled()


def scaled(self: Any, x: Tensor) -> Tensor:
    return x * 2


LEFT_OPEN: list[torch.inference_mode] = []


def _leave_inference_mode_open() -> None:
    LEFT_OPEN.append(torch.inference_mode())
    LEFT_OPEN[-1].__enter__()


CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "grad mode": (lambda: torch.set_grad_enabled(False), "the grad mode from True to False"),
    "inference mode": (_leave_inference_mode_open, "the inference mode from False"),
    "default dtype": (lambda: torch.set_default_dtype(torch.float64), "dtype from torch.float32"),
    "default device": (lambda: torch.set_default_device("meta"), "the default device"),
    "device context": (lambda: torch.device("meta").__enter__(), "function modes"),
    "autocast": (lambda: torch.autocast("cpu").__enter__(), "autocast on cpu from False to True"),
    "saved tensors": (PACKED.__enter__, "the hooks on tensors that autograd saves"),
    "threads": (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "number of threads"),
    "precision": (lambda: torch.set_float32_matmul_precision("medium"), "precision of float32"),
    "forward hook": (lambda: register_module_forward_hook(print), "_global_forward_hooks"),
    "layer": (lambda: setattr(nn.BatchNorm2d, "forward", scaled), "torch.nn.BatchNorm2d.forward"),
    "base class": (lambda: setattr(nn.Module, "__call__", scaled), "torch.nn.Module.__call__"),
    "convolution": (lambda: setattr(nn.Conv2d, "_conv_forward", scaled), "Conv2d._conv_forward"),
    "function": (lambda: setattr(F, "batch_norm", scaled), "torch.nn.functional.batch_norm"),
    "operation": (lambda: setattr(torch, "relu", scaled), "torch.relu"),
    "tensor": (lambda: setattr(Tensor, "softmax", scaled), "torch.Tensor.softmax"),
    "optimiser": (lambda: setattr(torch.optim.SGD, "step", scaled), "torch.optim.sgd.SGD.step"),
    "another of torch": (lambda: setattr(F, "relu", F.gelu), "torch.nn.functional.relu"),
    "deleted": (lambda: delattr(nn.Linear, "forward"), "torch.nn.Linear.forward"),
    "harness": (lambda: setattr(Recipe, "combine", scaled), "ttt_bench.losses.Recipe.combine"),
    "metric": (lambda: setattr(delta, "delta_ttt", scaled), "ttt_bench.metrics.delta.delta_ttt"),
    "method": (lambda: setattr(Tent, "step", scaled), "ttt_bench.methods.tent.Tent.step"),
    "folder": (lambda: os.chdir("/"), "the current folder from .* to /"),
    "NumPy": (lambda: np.seterr(all="raise"), "NumPy's handling of floating-point errors"),
    "denormals": (lambda: torch.set_flush_denormal(True), "flushing of denormal numbers from"),
}


@watched("method careless")
def _careless(act: Callable[[], object], *, fails: bool) -> None:
    act()
    if fails:
        raise ZeroDivisionError


def code() -> list[Any]:
    owners = (
        nn.BatchNorm2d,
        nn.Module,
        nn.Conv2d,
        nn.Linear,
        F,
        torch,
        Tensor,
        Recipe,
        delta,
        Tent,
    )
    return [dict(vars(owner)) for owner in (*owners, torch.optim.SGD)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_a_change_of_the_process_is_named_and_undone(
    change: str, fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.optim.SGD([torch.ones(1)])  # PyTorch wraps `step` when the first optimiser is made
    act, message = CHANGES[change]
    before, own_code = state(), code()
    with pytest.raises(ProcessError) as caught:
        _careless(act, fails=fails)
    assert re.search(f"method careless changes .*{message}", str(caught.value))
    assert "\n" not in str(caught.value)
    assert state() == before
    assert code() == own_code


def test_what_is_left_again_is_no_change() -> None:
    with watched("method careful"):
        with torch.no_grad(), torch.autocast("cpu"), torch.device("meta"):
            torch.ones(1)
        handle = register_module_forward_hook(print)
        handle.remove()
        layer = nn.Linear(1, 1)
        layer.forward = scaled  # type: ignore[method-assign]
        layer.register_forward_hook(lambda *_: None)
        nn.Module.of_mine = scaled  # type: ignore[attr-defined]
    del nn.Module.of_mine  # type: ignore[attr-defined]


def test_what_pytorch_initialises_late_is_no_change() -> None:
    with watched("method late"):
        for module in ("torch._dynamo", "torch.distributions", "torch.fx", "torchvision.models"):
            importlib.import_module(module)
        for optimiser in (torch.optim.RMSprop, torch.optim.AdamW, torch.optim.LBFGS):
            optimiser([torch.ones(1, requires_grad=True)])
        torch.compile(torch.sin, backend="eager")(torch.ones(1))


def test_an_error_without_a_change_stays_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), watched("method failing"):
        raise ZeroDivisionError


REPLACED: dict[str, tuple[Any, str, Callable[[], Any], str]] = {
    "a function": (nn.BatchNorm2d, "forward", lambda: scaled, "test_process"),
    "a class": (nn, "Conv2d", lambda: type("Conv2d", (nn.Conv2d,), {}), "test_process"),
    "a wrapped function": (nn.ReLU, "forward", lambda: torch.no_grad()(scaled), "test_process"),
    "a partial of itself": (
        F,
        "interpolate",
        lambda: partial(F.interpolate, antialias=True),
        "functools",
    ),
    "a mock": (nn.ReLU, "forward", lambda: Mock(side_effect=scaled), "unittest"),
    "a mock with a signature": (
        F,
        "batch_norm",
        lambda: create_autospec(F.batch_norm),
        "generated code",
    ),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_code_that_was_replaced_before_a_run_is_refused(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_replaced_code()
    owner, name, make, package = REPLACED[kind]
    monkeypatch.setattr(owner, name, make())
    with pytest.raises(ProcessError, match=rf"{owner.__name__}\.{name} \(by {package}\)"):
        refuse_replaced_code()


def test_code_that_ends_the_process_is_refused_by_name() -> None:
    @watched("method ending")
    def end() -> None:
        torch.set_grad_enabled(mode=False)
        sys.exit(3)

    message = r"method ending ends the process with exit code 3 \(test_process.py:\d+ in end\)"
    with pytest.raises(BenchError, match=message):
        end()
    assert torch.is_grad_enabled()
