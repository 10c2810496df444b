"""MTI-Net's modules against the golden vectors of its authors' code (`tests/golden/mti_net`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import pytest
import torch
from support.paths import GOLDEN
from torch import Tensor, nn

from ttt_bench.losses import RECIPES
from ttt_bench.model.network import resize
from ttt_bench.model.networks._mti_net_decoder import (
    Aggregation,
    Block,
    Decoder,
    Distillation,
    GatedMessage,
    Initial,
    Propagation,
)

ModuleT = TypeVar("ModuleT", bound=nn.Module)
FOUR = {"semseg": 5, "depth": 1, "normals": 3, "edge": 1}
MODES = ("eval", "train")
RENAMED = (
    (r"^initial(\d)", r"initial.\1"),
    (r"^distillation(\d)", r"distillation.\1"),
    (r"^propagation(\d)", lambda m: f"propagation.{int(m[1]) - 1}"),
    (r"(^|\.)f\.", r"\1mask."),
    (r"(\w+)\.(gate\d)", r"gates.\1.\2"),
    (r"\.scale$", ".weight"),
    (r"\.shift$", ".bias"),
    (r"\.mean$", ".running_mean"),
    (r"\.var$", ".running_var"),
    (r"(conv\d|shortcut|attention|feature)$", r"\1.weight"),
)
"""Names of the vectors' weights -> names here."""


class Vectors(dict[str, Tensor]):
    """The arrays of one file."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / "mti_net" / f"{name}.npz", allow_pickle=False) as data:
            self.names = [_here(str(one)) for one in data["names"]] if "names" in data else []
            arrays = {key: data[key] for key in data.files if key != "names"}
        super().__init__({key: torch.from_numpy(value) for key, value in arrays.items()})

    def tasks(self, kind: str) -> dict[str, Tensor]:
        """Return task -> array for the keys `kind.task`."""
        found = (key.split(".") for key in self if "." in key)
        return {task: self[f"{start}.{task}"] for start, task in found if start == kind}

    def fill(self, module: ModuleT) -> ModuleT:
        """Load the weights into a module, and check that it has no others."""
        state = dict(zip(self.names, self._weights(), strict=True))
        module.double().load_state_dict(state, strict=False)
        counted = (name for name in module.state_dict() if not name.endswith("tracked"))
        assert set(counted) == set(state)
        assert sum(p.numel() for p in module.parameters()) == self["count"]
        return module

    def check_statistics(self, module: nn.Module) -> None:
        """Check the running statistics of a module that was run once in train mode."""
        state = module.state_dict()
        found = [state[name] for name in self.names if "running" in name]
        close(torch.cat(found), self["train_statistics"], 1e-12)

    def _weights(self) -> Iterator[Tensor]:
        shapes = [[int(n) for n in shape if n] for shape in self["shapes"]]
        sizes = [int(np.prod(shape)) for shape in shapes]
        for flat, shape in zip(self["weights"].split(sizes), shapes, strict=True):
            yield flat.view(shape)


def _here(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def all_close(
    actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], atol: float = 1e-12
) -> None:
    assert list(actual) == list(expected)
    for name, value in expected.items():
        close(actual[name], value, atol)


@pytest.mark.parametrize(("name", "inputs", "outputs"), [("same", 7, 7), ("shortcut", 9, 5)])
def test_block(name: str, inputs: int, outputs: int) -> None:
    given = Vectors(f"block_{name}")
    block = given.fill(Block(inputs, outputs))
    for mode in MODES:
        close(block.train(mode == "train")(given["x"]), given[f"{mode}_out"], 1e-12)
    given.check_statistics(block)


@pytest.mark.parametrize(("name", "channels", "coarser"), [("coarsest", 6, 0), ("finer", 5, 8)])
def test_initial(name: str, channels: int, coarser: int) -> None:
    given = Vectors(f"initial_{name}")
    initial = given.fill(Initial(channels, coarser, FOUR))
    for mode in MODES:
        features = initial.train(mode == "train")(
            given["stage"], given.tasks("propagated") if coarser else None
        )
        all_close(features, given.tasks(f"{mode}_features"))
        all_close(initial.predictions(features), given.tasks(f"{mode}_prediction"))
    given.check_statistics(initial)


@pytest.mark.parametrize(("count", "channels"), [(1, 17), (3, 18), (4, 16)])
def test_propagation(count: int, channels: int) -> None:
    given = Vectors(f"propagation_n{count}")
    features = given.tasks("features")
    propagation = given.fill(Propagation(channels, tuple(features)))
    for mode in MODES:
        all_close(propagation.train(mode == "train")(features), given.tasks(f"{mode}_out"))
    given.check_statistics(propagation)


def test_softmax_across_tasks_weights_one_channel_of_every_task() -> None:
    torch.manual_seed(0)
    tasks, channels = ("semseg", "depth", "edge"), 16
    propagation = Propagation(channels, tasks, "across_tasks").eval()
    features = {task: torch.randn(2, channels, 3, 4) for task in tasks}
    mask = propagation.mask(torch.cat(list(features.values()), dim=1))
    exponentials = [mask[:, n * channels : (n + 1) * channels].exp() for n in range(3)]
    seen: list[Tensor] = []
    propagation.reduce.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    propagation(features)
    wanted = [
        exponential / sum(exponentials) * value
        for exponential, value in zip(exponentials, features.values(), strict=True)
    ]
    torch.testing.assert_close(seen[0], torch.cat(wanted, dim=1))


def test_gated_message() -> None:
    given = Vectors("spatial_attention")
    close(given.fill(GatedMessage(5))(given["x"]), given["out"], 1e-13)


@pytest.mark.parametrize("name", ["n4", "two_of_four"])
def test_distillation(name: str) -> None:
    given = Vectors(f"distillation_{name}")
    features, wanted = given.tasks("features"), given.tasks("out")
    distillation = given.fill(Distillation(6, tuple(features), tuple(wanted)))
    all_close(distillation(features), wanted, 1e-13)


def test_one_task_has_nothing_to_distil() -> None:
    features = {"depth": torch.randn(2, 6, 4, 5)}
    all_close(Distillation(6, ("depth",), ("depth",))(features), features, 0)


def test_aggregation() -> None:
    given = Vectors("aggregation")
    head = given.fill(nn.ModuleDict({"normals": Aggregation(22, 3)}))["normals"]
    for mode in MODES:
        out = head.train(mode == "train")([given[f"scale{s}"] for s in range(4)])
        close(out, given[f"{mode}_out"], 1e-12)


def test_decoder() -> None:
    given = Vectors("decoder_three_tasks")
    tasks = {"semseg": 4, "normals": 3, "edge": 1}
    decoder = given.fill(Decoder((6, 18, 16, 17), tasks))
    for mode in MODES:
        decoder.train(mode == "train")
        stages = [given[f"stage{s}"].clone().requires_grad_() for s in range(4)]
        features = decoder.features(stages)
        size = given[f"{mode}_out.edge"].shape[-2:]
        out = {task: resize(value, size) for task, value in decoder.final(features).items()}
        all_close(out, given.tasks(f"{mode}_out"), 1e-11)
        for scale, predictions in enumerate(decoder.initial_predictions(features)):
            all_close(predictions, given.tasks(f"{mode}_initial{scale}"), 1e-11)
        total = sum((out[task] * value).sum() for task, value in given.tasks("cotangent").items())
        for scale, gradient in enumerate(torch.autograd.grad(total, stages)):
            close(gradient, given[f"{mode}_grad{scale}"], 1e-11)
    given.check_statistics(decoder)


def test_losses_of_final_and_initial_predictions() -> None:
    """Five equal terms per task; our loss of normals sums the three channels."""
    given = Vectors("deep_supervision_loss")
    recipe, targets = RECIPES["weighted"], given.tasks("target")
    targets["semseg"] = targets["semseg"][:, 0].long()
    kinds = ("final", *(f"initial{scale}" for scale in range(4)))
    sums = dict.fromkeys(targets, torch.zeros(()).double())
    for kind in kinds:
        for task, prediction in given.tasks(kind).items():
            size = targets[task].shape[-2:]
            loss = recipe.losses[task](resize(prediction, size), targets[task])
            loss = loss / 3 if task == "normals" else loss
            close(loss, given[f"loss_{kind}.{task}"], 1e-11)
            sums[task] = sums[task] + loss
    assert {task: recipe.weights[task] for task in sums} == {
        task: float(w) for task, w in given.tasks("weight").items()
    }
    close(recipe.combine(sums), given["total"], 1e-9)
