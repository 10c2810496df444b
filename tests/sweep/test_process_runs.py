"""A run gives the same numbers in any process, and next to any other method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support.runs import plan, run
from support.short_form import short_form
from support.toy import Toy
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import ttt_bench
from ttt_bench.adapter import Needs
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS


def online(results: Path, *methods: str) -> pd.DataFrame:
    """Return the online rows of these methods."""
    rows = ttt_bench.read_results(results)
    rows = rows[(rows.protocol == "online") & rows.method.isin(methods)]
    return rows.sort_values(list(rows.columns)).reset_index(drop=True)


@pytest.fixture
def disturbed() -> Any:
    """Disturb the process of a test in many ways."""
    hook = register_module_forward_hook(lambda module, args, out: None)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu"), torch.inference_mode(), np.errstate(all="raise"):
        yield
    torch.set_float32_matmul_precision("highest")
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    hook.remove()


@pytest.mark.usefixtures("disturbed")
def test_the_callers_process_changes_no_number(tmp_path: Path, swept: Path) -> None:
    run(tmp_path, methods=("base", "tent"))
    assert online(tmp_path, "base", "tent").equals(online(swept, "base", "tent"))
    assert torch.get_default_dtype() is torch.float64
    assert torch.is_inference_mode_enabled()


class Patches(Toy):
    """Replaces the code of a layer at its first batch."""

    name = "patches"

    def begin_batch(self, *args: Any) -> None:
        nn.BatchNorm2d.forward = lambda layer, x: x * 2  # type: ignore[method-assign]


class GradientsOff(Toy):
    """Leaves gradients off after a step."""

    name = "gradients-off"

    def step(self, *args: Any) -> Any:
        torch.set_grad_enabled(False)
        return super().step(*args)


class Hooks(Toy):
    """Registers a hook on all modules when it predicts."""

    name = "hooks"

    def predict(self, net: Any, images: Any, ctx: Any) -> Any:
        register_module_forward_hook(lambda module, args, out: None)
        return super().predict(net, images, ctx)


class Doubles(Toy):
    """Changes the default dtype when it is bound."""

    name = "doubles"

    def bind(self, *args: Any) -> Any:
        torch.set_default_dtype(torch.float64)
        return super().bind(*args)


class Rescues(Toy):
    """Changes the number of threads while its modules are built."""

    name = "rescues"

    def build(self, *args: Any) -> Any:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().build(*args)


@pytest.mark.parametrize("protocol", short_form(("online", "single-batch"), ("online",)))
def test_methods_that_change_the_process_fail_by_name_and_base_stays_base(
    tmp_path: Path, swept: Path, protocol: str
) -> None:
    bad = {method.name: method for method in (Patches, GradientsOff, Hooks)}
    with METHODS.extended(bad):
        outcome = run(tmp_path, methods=(*bad, "base", "tent"), protocol=protocol)
    assert outcome.computed == {"failed": 3, "done": 2}
    stored = ttt_bench.read_results(swept)
    before = stored[(stored.protocol == protocol) & stored.method.isin(["base", "tent"])]
    after = ttt_bench.read_results(tmp_path)
    order = list(after.columns)
    assert (
        after.sort_values(order)
        .reset_index(drop=True)
        .equals(before.sort_values(order).reset_index(drop=True))
    )
    for name, change in {
        "patches": "torch.nn.BatchNorm2d.forward",
        "gradients-off": "the grad mode from True to False",
        "hooks": "_global_forward_hooks",
    }.items():
        (path,) = tmp_path.glob(f"cells/*/{name}*/manifest.json")
        reason = json.loads(path.read_text())["reason"]
        assert f"adapting with method {name} changes" in reason
        assert change in reason


class Needy(Toy):
    """Changes the grad mode when it is asked for its needs."""

    name = "needy"

    def needs(self) -> Needs:
        torch.set_grad_enabled(False)
        return super().needs()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Needy, "planning with method needy changes .* grad mode"),
        (Doubles, "`bind` of method doubles .* dtype"),
        (Rescues, "`build` of method rescues"),
    ],
)
def test_the_plan_refuses_a_method_that_changes_the_process(
    method: Any, message: str, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    with METHODS.extended({method.name: method}), pytest.raises(BenchError, match=message):
        plan(tmp_path, methods=(method.name, "base"))
    assert torch.get_default_dtype() is torch.float32
    assert torch.get_num_threads() == threads
