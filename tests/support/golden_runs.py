"""Replay recorded runs of each author's code with our plugins, and compare the numbers.

`tests/golden_runs/README.md` states the format of a recorded run and the contract.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# all imports from ttt_bench
from support.fakes import TARGET
from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser, SourceStep
from ttt_bench.config.preset import ModelConfig
from ttt_bench.losses import RECIPES
from ttt_bench.model import build_model
from ttt_bench.network import Batch, Net
from ttt_bench.registry import METHODS

TOLERANCE = {
    "loss": 1e-9,
    "predictions": 1e-9,
    "moved": 1e-6,
    "buffers": 1e-8,
    "still": 0.0,
    "statistics": 1e-9,
    "source loss": 1e-9,
    "source gradients": 1e-7,
}
"""Largest allowed difference of each quantity, as a share of its scale (README.md); a file may
name others.
"""
FLOOR = 1e-6
"""A tensor's scale is at least this share of that of the largest tensor of the same array."""
MASK = 0xFFFFFFFF


def uniform(key: str, count: int) -> np.ndarray:
    """Return the contract's numbers in (0, 1) for a key, float64, exact."""
    h = np.uint64(0x9E3779B9) * np.arange(1, count + 1, dtype=np.uint64) + np.uint64(
        zlib.crc32(key.encode())
    )
    h &= np.uint64(MASK)
    h ^= h >> np.uint64(16)
    h = h * np.uint64(0x85EBCA6B) & np.uint64(MASK)
    h ^= h >> np.uint64(13)
    h = h * np.uint64(0xC2B2AE35) & np.uint64(MASK)
    h ^= h >> np.uint64(16)
    return (h.astype(np.float64) + 0.5) / 2.0**32


def numbers(key: str, shape: Sequence[int]) -> np.ndarray:
    """Return `uniform` numbers in a shape."""
    return uniform(key, math.prod(shape)).reshape(tuple(shape))


def by_rule(rule: Sequence[Any], key: str, shape: Sequence[int]) -> np.ndarray:
    """Return the values that a rule of the file gives a tensor."""
    kind, *constants = rule
    if kind == "weight":
        kind, constants = ("between", constants[:2]) if len(shape) == 1 else ("fan", constants[2:])
    if kind == "values":
        return np.array(constants[0], dtype=np.float64).reshape(tuple(shape))
    x = numbers(key, shape)
    if kind == "between":
        low, high = constants
        return low + (high - low) * x
    if kind == "fan":
        return constants[0] * math.sqrt(3 / math.prod(shape[1:])) * (2 * x - 1)
    raise ValueError(f"unknown rule {kind!r}")


def fill(net: nn.Module, meta: Mapping[str, Any]) -> None:
    """Set every tensor of the network by the first rule whose pattern matches its name."""
    with torch.no_grad():
        for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
            if tensor.is_floating_point():
                _, *rule = next(rule for rule in meta["rules"] if fnmatchcase(name, rule[0]))
                if rule[0] != "keep":
                    tensor.copy_(
                        torch.from_numpy(by_rule(rule, f"{meta['salt']}/{name}", tensor.shape))
                    )
        for name in meta.get("flags", ()):
            net.get_buffer(name).fill_(value=True)


def made_images(meta: Mapping[str, Any], key: str, shape: Sequence[int]) -> Tensor:
    """Return images (B, 3, H, W) in (0, 1): noise on coloured squares of 16 x 16 pixels."""
    batch, channels, height, width = shape
    squares = numbers(
        f"{meta['salt']}/{key}/coarse", (batch, channels, -(-height // 16), -(-width // 16))
    )
    coarse = squares.repeat(16, 2).repeat(16, 3)[:, :, :height, :width]
    values = 0.4 * numbers(f"{meta['salt']}/{key}", shape) + 0.6 * coarse
    if meta.get("quantised"):  # bytes, divided in single precision
        values = (np.floor(256 * values).astype(np.float32) / np.float32(255)).astype(np.float64)
    return torch.from_numpy(values)


def targets(meta: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Tensor]:
    """Return the targets of the source batch of a joint objective."""
    batch, _, height, width = shape

    def draw(task: str, channels: int) -> np.ndarray:
        return numbers(f"{meta['salt']}/target/{task}", (batch, channels, height, width))

    classes = dict(meta["tasks"])["semseg"]
    semseg = np.floor(classes * draw("semseg", 1)[:, 0]).astype(np.int64)
    semseg[:, :5] = 255
    normals = 2 * draw("normals", 3) - 1
    normals /= np.sqrt((normals**2).sum(axis=1, keepdims=True))
    found = {"semseg": semseg, "depth": 1 + draw("depth", 1), "normals": normals}
    found["edge"] = (draw("edge", 1) < 0.1).astype(np.float64)
    return {task: torch.from_numpy(found[task]) for task, _ in meta["tasks"]}


class Replay:
    """Random numbers of a context by the contract; records the shape of each call."""

    def __init__(self, salt: str, what: str) -> None:
        self.salt, self.what = salt, what
        self.shapes: list[list[int]] = []

    def rand(self, *shape: int) -> Tensor:
        key = f"{self.salt}/{self.what}/{len(self.shapes)}"
        self.shapes.append(list(shape))
        return torch.from_numpy(numbers(key, shape))

    def uniform_like(self, x: Tensor) -> Tensor:
        return self.rand(*x.shape)

    def normal_like(self, x: Tensor) -> Tensor:
        return math.sqrt(12) * (self.rand(*x.shape) - 0.5)  # of mean 0 and variance 1, but uniform

    def into(self, ctx: Any) -> None:
        ctx.rand, ctx.uniform_like, ctx.normal_like = self.rand, self.uniform_like, self.normal_like
        ctx.stream = lambda _: ctx  # one order of calls for all streams


def summary(name: str, tensor: Tensor, samples: int) -> np.ndarray:
    """Return a tensor's numbers if there are at most `samples`, otherwise a summary.

    The summary is mean, root mean square, a projection, and `samples` of the numbers.
    """
    x = tensor.detach().double().reshape(-1).numpy()
    if x.size <= samples:
        return x
    projection = (2 * uniform(f"check/{name}", x.size) - 1) * x
    chosen = np.floor(uniform(f"samples/{name}", samples) * x.size).astype(np.int64)
    return np.concatenate([[x.mean(), np.sqrt((x * x).mean()), projection.mean()], x[chosen]])


class Differences:
    """Largest difference of each quantity, relative to its scale."""

    def __init__(self, tolerance: Mapping[str, float]) -> None:
        self.tolerance = {**TOLERANCE, **tolerance}
        self.largest: dict[str, float] = {}
        self.problems: list[str] = []

    def add(self, what: str, ours: Any, theirs: Any, scale: float | None = None) -> None:
        ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        if ours.shape != theirs.shape:
            self.problem(f"{what}: shape {ours.shape}, recorded {theirs.shape}")
            return
        if not theirs.size:
            return
        scale = max(float(np.abs(theirs).max()), 1e-12) if scale is None else scale
        difference = float(np.abs(ours - theirs).max()) / scale
        self.largest[what] = max(
            self.largest.get(what, 0.0), math.inf if math.isnan(difference) else difference
        )

    def add_packed(
        self,
        what: str,
        spec: Sequence[Any],
        ours: Mapping[str, Tensor],
        theirs: np.ndarray,
        samples: int,
    ) -> None:
        """Compare tensors with those concatenated in `theirs`, each relative to its own scale."""
        sizes = [math.prod(shape) for _, shape in spec]
        lengths = [size if size <= samples else 3 + samples for size in sizes]
        if sum(lengths) != len(theirs):
            raise ValueError(
                f"an array of {len(theirs)} numbers does not fit its index of {sum(lengths)}"
            )
        largest = float(np.abs(theirs).max()) if len(theirs) else 0.0
        at = 0
        for (name, shape), length in zip(spec, lengths, strict=True):
            recorded = theirs[at : at + length]
            at += length
            if name not in ours or list(ours[name].shape) != list(shape):
                self.problem(f"{what}: {name} {shape} is missing or of another shape")
                continue
            scale = max(float(np.abs(recorded).max()), FLOOR * largest)
            self.add(what, summary(name, ours[name], samples), recorded, scale)

    def problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def failed(self) -> list[str]:
        return [what for what, value in self.largest.items() if not value <= self.tolerance[what]]


def source_network(adapter: Any, meta: Mapping[str, Any]) -> Net:
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(backbone=meta["backbone"], pretrained=False), dict(meta["tasks"])
    )
    net = Net(model, adapter.build(model, dict(meta["tasks"]))).double()
    fill(net, meta)
    return net.eval()


def values(net: nn.Module) -> dict[str, Tensor]:
    named = [*net.named_parameters(), *net.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach().clone() for name, tensor in named if tensor.is_floating_point()}


def one_set(names: Sequence[str], layers: Sequence[str]) -> dict[str, str]:
    """Return recorded name -> plugin's name of the second statistics of layers that have one set.

    The recording contains the statistics of such a layer twice; the plugin has one set of them.
    """
    twice = {f"extra.{layer.replace('.', '/')}/": f"model.{layer}." for layer in layers}
    return {
        name: name.replace(second, own)
        for name in names
        for second, own in twice.items()
        if name.startswith(second)
    }


def source_statistics(adapter: Any, net: Net, meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the source statistics, from the images of the contract."""
    if not meta.get("source_batches"):
        return {}
    ctx = HarnessContext(net, RECIPES[meta["recipe"]])
    ctx.norms.set(Norm.RUNNING)
    images = (
        made_images(meta, f"source/{k}", meta["source_shape"])
        for k in range(meta["source_batches"])
    )
    with torch.no_grad():
        return adapter.source_statistics(net, images, ctx)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the settings and the arrays of a recorded run."""
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    return json.loads(str(data["meta"])), data


def check(path: Path) -> Differences:
    """Replay a recorded run and return the differences."""
    meta, data = read(path)
    found = Differences(meta["tolerance"])
    method = METHODS.load(meta["method"])
    _check_adapting(_adapter(method, meta, {}), meta, data, found)
    if "source_loss" in meta:
        _check_source(
            _adapter(method, meta, meta["source_loss"].get("options") or {}), meta, data, found
        )
    return found


def _adapter(method: Any, meta: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
    """Return the plugin with the options of the run.

    Defaults of the time of recording apply to options that still exist.
    """
    defaults = {
        name: value
        for name, value in meta["all_options"].items()
        if name in method.Options.model_fields
    }
    left_out = {"layers": "official"} if "leave_out" in meta else {}
    return method(method.Options(**{**defaults, **meta["options"], **left_out, **more}))


def _check_adapting(
    adapter: Any, meta: Mapping[str, Any], data: Mapping[str, np.ndarray], found: Differences
) -> None:
    statistics = source_statistics(adapter, source_network(adapter, meta), meta)
    for name in data:
        if name.startswith("statistics/"):
            ours = statistics[name.removeprefix("statistics/")]
            found.add("statistics", summary(name, ours, 64), data[name])
    net = source_network(adapter, meta)
    recipe = RECIPES[meta["recipe"]]
    session = Session(
        net,
        adapter,
        target=TARGET,
        optimiser=Optimiser(**meta["optimiser"]),
        statistics=statistics,
        recipe=recipe,
        seed=0,
    )
    replay = Replay(meta["salt"], "draw")
    replay.into(session.ctx)
    start, step = values(net), 0
    recorded = {name for name, _ in [*meta["moved"], *meta["buffers"]]}
    twice = one_set(sorted(recorded), meta.get("leave_out", ()))

    def compare(images: Tensor) -> None:
        predictions, steps = session.predict(images), meta["steps"]
        samples = 16 if steps and (step + 1) % steps else 64  # a batch's last step has more samples
        found.add_packed(
            "predictions", meta["predictions"], predictions, data[f"{step}/predictions"], samples
        )
        if f"{step}/moved" in data:
            change = {name: tensor - start[name] for name, tensor in values(net).items()}
            change |= {recorded: change[own] for recorded, own in twice.items()}
            for what in ("moved", "buffers"):
                found.add_packed(what, meta[what], change, data[f"{step}/{what}"], samples)
            still = [float(c.abs().max()) for name, c in change.items() if name not in recorded]
            found.add("still", max(still), 0.0, 1.0)

    for number in range(meta["batches"]):
        images = made_images(meta, f"images/{number}", meta["shape"])
        if meta["reset"]:
            session.reset()
        session.begin_batch(number, images)
        for _ in range(meta["steps"]):
            losses = session.adapt(images)
            found.add("loss", sum(float(loss) for loss in losses.values()), data["loss"][step])
            compare(images)
            step += 1
        if meta["steps"]:
            session.end_batch(images)
        else:
            compare(images)
            step += 1
    if replay.shapes != meta["draws"]:
        found.problem(
            f"random numbers asked for: {replay.shapes[:4]} ..., recorded {meta['draws'][:4]} ..."
        )


def _check_source(
    adapter: Any, meta: Mapping[str, Any], data: Mapping[str, np.ndarray], found: Differences
) -> None:
    source = meta["source_loss"]
    net, images = source_network(adapter, meta), made_images(meta, "source", source["shape"])
    recipe = RECIPES[source.get("recipe") or meta["recipe"]]
    ctx = HarnessContext(net, recipe)
    replay = Replay(meta["salt"], "source-draw")
    replay.into(ctx)
    if source["objective"] == "flow":
        net.extra.train()
        ctx.norms.set(Norm.RUNNING)
        step = SourceStep(
            net=net,
            batch=Batch(images, {}),
            stages=[],
            predictions={},
            phase=adapter.phases()[-1],
            ctx=ctx,
        )
        terms = adapter.source_loss(step)
        total = sum(terms.values())
    else:
        net.train()
        ctx.norms.set(Norm.EMA)
        features = net.model.stages(images)
        predictions = net.model.outputs(features, images.shape[-2:])
        batch = Batch(
            images, targets(meta, source["shape"]) if source["objective"] == "joint" else {}
        )
        step = SourceStep(
            net=net,
            batch=batch,
            stages=features,
            predictions=predictions,
            phase=adapter.phases()[0],
            ctx=ctx,
        )
        terms = adapter.source_loss(step)
        if source["objective"] == "joint":
            by_task = {
                task: recipe.losses[task](predictions[task], batch.targets[task])
                for task in predictions
            }
            for name, term in terms.items():
                by_task[name.split("/")[1]] = by_task[name.split("/")[1]] + term
            weights = source["weights"]
            params = torch.full((len(by_task),), weights, dtype=torch.float64) if weights else None
            total = recipe.combine(by_task, params)
        else:
            total = sum(terms.values())
    total.backward()
    found.add("source loss", float(total.detach()), data["source/loss"])
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    found.add_packed("source gradients", meta["gradients"], gradients, data["source/gradients"], 32)
    wanted = {name for name, _ in meta["gradients"]}
    extra = [
        name for name, g in gradients.items() if name not in wanted and float(g.abs().max()) > 0
    ]
    if extra:
        found.problem(f"source gradients that the recorded run does not have: {extra[:3]}")
    if replay.shapes != meta["source_draws"]:
        found.problem(
            f"random numbers asked for at source: {replay.shapes}, recorded {meta['source_draws']}"
        )
