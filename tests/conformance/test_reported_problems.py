"""What the check of a method reports: each cause once, with its place and the way out."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.toy import Toy
from torch import Tensor

from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapter import Adapter, Context, Needs, Options, StepOut, option
from ttt_bench.conformance import BACKBONE, assert_conforms, check_method, run_check
from ttt_bench.conformance.subject import Subject
from ttt_bench.errors import BenchError
from ttt_bench.losses import softmax_entropy
from ttt_bench.network import Net
from ttt_bench.registry import METHODS


def problem(check: str, method: type[Adapter]) -> str:
    """Return the problem that a check finds."""
    return run_check(check, Subject.create(method, {}, BACKBONE, torch.device("cpu"))).problem


class DrawsFromNumpy(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        return StepOut({"size": out.losses["size"] * np.random.rand()}, out.predictions)


class RaisesInItsHelper(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return raising(images)


def raising(images: Tensor) -> StepOut:
    """Fail inside a library, from the plugin's code."""
    torch.cat([images, images[..., 1:]])
    raise NotImplementedError


class Detaches(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return StepOut({"size": torch.zeros(())}, net.model(images))


class SelectsOptions(Options):
    """The margin that EATA publishes, times the logarithm of the number of classes."""

    margin: float = option(0.4, "largest entropy", citation="EATA, section 5", gt=0)


class Selects(Toy):
    """Adapts by confident images alone; random images never are."""

    Options = SelectsOptions

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"semseg"}))

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        logits = predictions["semseg"]
        entropy = softmax_entropy(logits).mean(dim=(1, 2))
        confident = entropy.detach() < self.options.margin * np.log(logits.shape[1])
        return StepOut({"entropy": (entropy * confident).mean()}, predictions)


class SelectsAll(Selects):
    """Selects every image in the check."""

    check_options: ClassVar[Mapping[str, Any]] = {"margin": 10.0}


def results_of(method: type[Adapter]) -> dict[str, Any]:
    """Return check -> result of all checks."""
    return {result.check: result for result in check_method(method)}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (RaisesInItsHelper, r"RuntimeError: .* \(test_reported_problems\.py:\d+ in raising\)$"),
        (Detaches, "no loss that `step` of toy returns has a gradient; compute one"),
    ],
)
def test_an_error_is_reported_once(method: type[Adapter], message: str) -> None:
    results = results_of(method)
    failed = [result for result in results.values() if not result.passed and result.ran]
    assert [result.check for result in failed] == ["shapes"]
    assert re.search(message, failed[0].problem)
    stopped = [result for result in results.values() if not result.ran]
    assert len(stopped) > 10
    for result in stopped:
        assert result.problem.startswith("not run: ")
        assert not result.passed


def test_an_irreproducible_method_is_not_said_to_read_labels() -> None:
    results = results_of(DrawsFromNumpy)
    assert "numpy" in results["seeds"].problem
    assert not results["labels"].ran
    message = problem("labels", DrawsFromNumpy)
    assert message.startswith("is not reproducible under the online protocol")


class ReadsAhead(Toy):
    """Reads the images of a later batch from the data set in a caller's frame."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        frame, seen = sys._getframe(), 0.0
        while frame.f_back is not None:
            frame = frame.f_back
            owner = frame.f_locals.get("self")
            if isinstance(owner, ProtocolRun):
                seen = float(owner.dataset.batch([len(owner.dataset) - 1]).images.mean())
        out = super().step(net, images, ctx)
        return StepOut({"size": out.losses["size"] * (1 + seen)}, out.predictions)


def test_images_of_later_batches_are_no_labels() -> None:
    assert problem("labels", ReadsAhead).startswith("other images in later batches give other")


def test_confidence_has_a_way_out_that_the_message_names() -> None:
    assert "set options that select all of them in its class attribute `check_options`" in problem(
        "moves", Selects
    )
    assert {result.problem for result in check_method(SelectsAll)} == {""}
    subject = Subject.create(Selects, {"margin": 10.0}, BACKBONE, torch.device("cpu"))
    assert not run_check("moves", subject).problem


def test_the_error_of_a_failed_assertion_has_the_traceback_of_the_method() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_conforms(RaisesInItsHelper)
    assert isinstance(caught.value.__cause__, RuntimeError)


FOUR_BLOCKS: dict[str, Any] = {"out_indices": [0, 1, 2, 3]}


def test_a_network_of_fixed_size_is_refused_with_the_arguments_that_help() -> None:
    with pytest.raises(BenchError) as found:
        _subject("test_vit", FOUR_BLOCKS)
    assert re.search(
        r"test_vit cannot take images of 61x47, which the checks use \(Input height \(61\) .* "
        r"\(16\)\); use --set '.* dynamic_img_size = true, dynamic_img_pad = true \}'",
        str(found.value),
    )
    padded = {**FOUR_BLOCKS, "dynamic_img_size": True, "dynamic_img_pad": True}
    assert not run_check("shapes", _subject("test_vit", padded)).problem


def test_a_network_for_which_no_arguments_help_is_checked() -> None:
    assert "test_maxvit" in _subject("test_maxvit", {}).model.label


def _subject(backbone: str, arguments: dict[str, Any]) -> Subject:
    given = {"model.backbone_args": arguments}
    return Subject.create(METHODS.load("cotta"), given, backbone, torch.device("cpu"))
