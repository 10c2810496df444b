"""Every golden vector against the function that its contract names (`tests/golden/README.md`), to
its own tolerance.

Run this file alone to verify that the methods' maths are those of their authors' code:

    python -m pytest tests/test_golden.py
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.golden_cases import CONTRACTS, FOLDER, Case, assert_close, cases
from torch import Tensor, nn

CASES = [
    pytest.param(stem, case, id=f"{stem}-{number}")
    for stem in sorted(CONTRACTS)
    for number, case in enumerate(cases(stem))
]


def test_every_file_has_a_contract() -> None:
    assert {path.stem for path in FOLDER.glob("*.npz")} == CONTRACTS.keys()


@pytest.mark.parametrize(("stem", "case"), CASES)
def test_golden(stem: str, case: Case) -> None:
    module, _, name = CONTRACTS[stem].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    before, random_state = _copies(case.inputs), torch.random.get_rng_state()
    SPECIAL.get(stem, _call)(function, case)
    assert torch.equal(torch.random.get_rng_state(), random_state), "global random state was used"
    for mine, theirs in zip(_tensors(case.inputs), before, strict=True):
        assert torch.equal(mine, theirs), "an input was changed"


def _call(function: Callable[..., Any], case: Case) -> None:
    result = function(**case.inputs)
    wanted = list(case.outputs.values())
    for mine, theirs in zip([result] if len(wanted) == 1 else result, wanted, strict=True):
        assert_close(mine, theirs, case)


def _with_gradient(argument: str) -> Callable[[Callable[..., Any], Case], None]:
    """Return a scalar loss and its gradient with respect to a tensor or a list of tensors."""

    def check(function: Callable[..., Any], case: Case) -> None:
        given = case.inputs[argument]
        leaves = [
            x.clone().requires_grad_() for x in (given if isinstance(given, list) else [given])
        ]
        loss = function(
            **{**case.inputs, argument: leaves if isinstance(given, list) else leaves[0]}
        )
        assert_close(loss, case.outputs["loss"], case)
        gradients = list(torch.autograd.grad(loss, leaves))
        assert_close(
            gradients if isinstance(given, list) else gradients[0], case.outputs["grad"], case
        )

    return check


def _network(state: dict[str, Tensor]) -> nn.Sequential:
    """The network of the adversarial steps: two of convolution, BatchNorm and ReLU, and a last
    convolution.
    """
    classes, width = state["6.weight"].shape[:2]
    first, second = (nn.Conv2d(channels, width, 3, padding=1) for channels in (3, width))
    layers = [first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(width), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Conv2d(width, classes, 1)).double()
    network.load_state_dict(
        {name: torch.as_tensor(value) for name, value in state.items()}
    )  # a count is a number here
    return network.train()


def _adversarial_step(function: Callable[..., Any], case: Case) -> None:
    """Return loss, adversarial images, gradients, and predictions after one step of descent."""
    inputs = dict(case.inputs)
    state, lr = inputs.pop("net"), inputs.pop("lr")
    with torch.random.fork_rng(devices=[]):
        clean, adversarial = _network(state), _network(state)
    for number in (1, 4):  # one scale and shift, two sets of running statistics
        adversarial[number].weight, adversarial[number].bias = (
            clean[number].weight,
            clean[number].bias,
        )
    loss, images = function(clean, adversarial, **inputs)
    parameters = dict(clean.named_parameters())
    assert not any(p.grad is not None for p in [*clean.parameters(), *adversarial.parameters()]), (
        "the inner step"
    )
    tight = case._replace(atol=1e-12)
    assert_close(loss, case.outputs["loss"], tight)
    assert_close(images, case.outputs["images_adv"], case)
    names = list(case.outputs["grad"])
    gradients = dict(
        zip(names, torch.autograd.grad(loss, [parameters[name] for name in names]), strict=True)
    )
    assert_close(gradients, case.outputs["grad"], tight)
    with torch.no_grad():
        for name, gradient in gradients.items():
            parameters[name] -= lr * gradient
        assert_close(clean.eval()(case.inputs["images"]), case.outputs["post_prediction"], case)


def _realnvp(cls: Callable[..., Any], case: Case) -> None:
    with torch.random.fork_rng(devices=[]):
        flow = (
            cls(channels=case.inputs["channels"], res_blocks=case.inputs["res_blocks"])
            .double()
            .eval()
        )
    flow.load_weights(case.inputs["weights"])
    _call(lambda **_: flow(case.inputs["x"]), case)


SPECIAL = {
    "tent_entropy_loss": _with_gradient("logits"),
    "clust3_loss": _with_gradient("projections"),
    "tipi_adversarial_step": _adversarial_step,
    "tttflow_realnvp": _realnvp,
}


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, dict):
        return [tensor for entry in value.values() for tensor in _tensors(entry)]
    if isinstance(value, list):
        return [tensor for entry in value for tensor in _tensors(entry)]
    return [value] if isinstance(value, Tensor) else []


def _copies(value: Any) -> list[Tensor]:
    return [tensor.clone() for tensor in _tensors(value)]


def test_a_wrong_number_is_noticed() -> None:
    case = cases("tent_softmax_entropy")[0]
    with pytest.raises(AssertionError):
        _call(lambda logits: np.zeros(case.outputs["entropy"].shape), case)
