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
from support.author_net import author_layers
from support.golden_cases import CONTRACTS, FOLDER, Case, assert_close, cases
from torch import Tensor
from torch.func import functional_call

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


def _adversarial_step(function: Callable[..., Any], case: Case) -> None:
    """Return loss, adversarial images, gradients, and predictions after one step of descent."""
    inputs = dict(case.inputs)
    state, lr = inputs.pop("net"), inputs.pop("lr")
    clean, adversarial = author_layers(state), author_layers(state)
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


def _with_gradients_by_name(argument: str) -> Callable[[Callable[..., Any], Case], None]:
    """Return a scalar loss and its gradient with respect to a dict of tensors."""

    def check(function: Callable[..., Any], case: Case) -> None:
        given = case.inputs[argument]
        leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
        loss = function(**{**case.inputs, argument: leaves})
        assert_close(loss, case.outputs["loss"], case)
        _assert_gradients(loss, leaves, case)

    return check


def _assert_gradients(loss: Tensor, leaves: dict[str, Tensor], case: Case) -> None:
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    assert_close(dict(zip(leaves, gradients, strict=True)), case.outputs["grad"], case)


def _functional(case: Case) -> tuple[Callable[..., Tensor], dict[str, Tensor], dict[str, Any]]:
    """Return the network as a function of images and parameters, those, and other arguments."""
    inputs = dict(case.inputs)
    network, names = author_layers(inputs.pop("net")), inputs.pop("parameters")
    own = dict(network.named_parameters())
    leaves = {name: own[name].detach().clone().requires_grad_() for name in names}
    return (lambda images, weights: functional_call(network, weights, (images,))), leaves, inputs


def _probed(function: Callable[..., Any], case: Case) -> None:
    """Compare outputs, and the gradient of their sum weighted by a probe, by the features."""
    inputs, outputs = dict(case.inputs), dict(case.outputs)
    probe, gradient = inputs.pop("probe"), outputs.pop("grad")
    features = inputs.pop("features").clone().requires_grad_()
    result = function(features=features, **inputs)
    results = result if isinstance(result, tuple) else (result,)
    for mine, theirs in zip(results, outputs.values(), strict=True):
        assert_close(mine, theirs, case)
    (found,) = torch.autograd.grad((results[0] * probe).sum(), features)
    assert_close(found, gradient, case)


def _fisher(function: Callable[..., Any], case: Case) -> None:
    forward, leaves, inputs = _functional(case)
    with torch.no_grad():
        assert_close(
            function(forward, leaves, iter(inputs["batches"])), case.outputs["fisher"], case
        )


def _sharpness(function: Callable[..., Any], case: Case) -> None:
    forward, leaves, inputs = _functional(case)
    before = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    logits, loss = function(forward, leaves, **inputs)
    assert_close(logits, case.outputs["logits"], case)
    assert_close(loss, case.outputs["loss"], case)
    _assert_gradients(loss, leaves, case)
    for name, leaf in leaves.items():
        assert torch.equal(leaf, before[name]), "parameters stay where they are"
        assert leaf.grad is None


SPECIAL = {
    "tent_entropy_loss": _with_gradient("logits"),
    "clust3_loss": _with_gradient("projections"),
    "tipi_adversarial_step": _adversarial_step,
    "tttflow_realnvp": _realnvp,
    "eata_filtered_loss": _with_gradient("logits"),
    "eata_fisher_penalty": _with_gradients_by_name("parameters"),
    "eata_fisher_diagonal": _fisher,
    "cotta_consistency_loss": _with_gradient("student"),
    "memo_marginal_entropy": _with_gradient("views"),
    "memo_prior_batch_norm": _probed,
    "rotta_robust_batch_norm": _probed,
    "rotta_teacher_student_loss": _with_gradient("student"),
    "sar_second_loss": _with_gradient("second"),
    "sar_sharpness_aware_loss": _sharpness,
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
