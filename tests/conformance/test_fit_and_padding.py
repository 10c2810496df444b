"""Checks on padded images, of values of a batch, and of networks that do not suit a method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.command import call
from support.toy import Toy
from torch import Tensor

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


class SharesInTheBatch(Toy):
    """Keeps one tensor under two names, and changes it in place."""

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        ctx.batch["factor"] = ctx.batch["count"] = torch.ones(())

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        return out._replace(losses={"size": out.losses["size"] * ctx.batch["factor"].clone()})

    def after_step(self, net: Net, images: Tensor, ctx: Context) -> None:
        ctx.batch["count"].mul_(1.5)


class CountsOnItself(Toy):
    """Counts the steps of a batch in an attribute, which a resumed run does not have."""

    count = 0

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        self.count = 0

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        self.count += 1
        return out._replace(losses={"size": out.losses["size"] * self.count})


@pytest.mark.parametrize("method", [SharesInTheBatch, CountsOnItself])
def test_state_that_a_resumed_run_does_not_have_is_noticed(method: type[Adapter]) -> None:
    message = "a run that was interrupted within a batch and resumed gives other numbers"
    assert problem("resuming", method).startswith(message)


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
