"""Checks on padded images, of values of a batch, and of networks that do not suit a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from support.command import call
from support.toy import Toy
from torch import Tensor, nn

from ttt_bench.adapter import Adapter, Context, StepOut
from ttt_bench.conformance import BACKBONE, check_method, run_check
from ttt_bench.conformance.subject import Subject
from ttt_bench.errors import BenchError
from ttt_bench.methods.eata import Eata
from ttt_bench.methods.rotta import RoTTA
from ttt_bench.network import Net


def problem(check: str, method: type[Adapter]) -> str:
    """Return the problem that a check finds."""
    return run_check(check, Subject.create(method, {}, BACKBONE, torch.device("cpu"))).problem


class Selecting(Toy):
    """Leaves padded pixels out of its loss."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        squares = next(iter(predictions.values())) ** 2  # (B, K, H, W)
        kept = squares if ctx.valid is None else squares * ctx.valid
        return StepOut({"size": kept.mean()}, predictions)


class MaskWithoutAChannel(Toy):
    """Takes the mask of valid pixels to be (B, H, W)."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        squares = next(iter(predictions.values()))[:, 0] ** 2
        kept = squares if ctx.valid is None else squares[ctx.valid]
        return StepOut({"size": kept.mean()}, predictions)


def test_a_mask_of_another_shape_is_noticed_on_padded_images() -> None:
    assert problem("shapes", Selecting) == ""
    assert problem("shapes", MaskWithoutAChannel).startswith("IndexError: too many indices")


class SharesABuffer(Toy):
    """Keeps a view of a buffer that changes, in place of a copy."""

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        memory = nn.Module()
        memory.register_buffer("seen", torch.ones(()))
        return memory

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        assert net.extra is not None
        ctx.batch["seen"] = net.extra.get_buffer("seen")

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        return out._replace(losses={"size": out.losses["size"] * ctx.batch["seen"].clone()})

    def after_step(self, net: Net, images: Tensor, ctx: Context) -> None:
        assert net.extra is not None
        net.extra.get_buffer("seen").add_(1)


def test_a_view_that_a_resumed_run_does_not_have_is_noticed() -> None:
    message = "a run that was interrupted within a batch and resumed gives other numbers"
    assert problem("resuming", SharesABuffer).startswith(message)


@pytest.mark.parametrize("method", [Eata, RoTTA])
def test_a_network_without_the_layers_that_a_method_needs_is_refused(method: type[Adapter]) -> None:
    with pytest.raises(BenchError) as refusal:
        check_method(method, backbone="test_convnext")
    message = f"{method.name} needs BatchNorm layers, which hypercolumn on test_convnext does not"
    assert message in str(refusal.value)
    assert ("--set eata.affine=any avoids this" in str(refusal.value)) == (method is Eata)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.architecture=mti-net", "did you mean mti_net?"),
        ("model.backbone=nonsense", "unknown backbone 'nonsense'"),
        ("model.architecture_args={wdth=2}", "wdth"),
    ],
)
def test_a_wrong_network_is_one_line_with_exit_code_2(setting: str, message: str) -> None:
    done = call("methods", "check", "tent", "--json", "--set", setting)
    assert done.returncode == 2, done.stdout
    assert message in done.stdout + done.stderr
    assert "not run" not in done.stdout


def test_an_unknown_option_of_a_network_is_one_line_with_exit_code_2() -> None:
    done = call("networks", "check", "dpt", "--set", "model.architecture_args={wdth=2}")
    assert done.returncode == 2
    assert "architecture_args.wdth: unknown setting 'wdth'; did you mean width?" in done.stderr
    assert not done.stdout


def test_values_of_a_batch_are_named_by_the_checks() -> None:
    class Counts(Toy):
        def begin_batch(self, net: Any, images: Any, ctx: Any) -> None:
            ctx.batch["n"] = 1

    assert problem("shapes", Counts) == (
        "`begin_batch` of toy puts an int into ctx.batch['n']; put a tensor, such as "
        "torch.tensor(value)"
    )
