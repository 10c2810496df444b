"""Time of one adaptation step relative to the bare passes that a method states.

The network is ResNet-50 with images of 256x256 in batches of 8 (TTT_BENCH_SIZE sets another size).
The bare passes are plain PyTorch: the forward and backward passes that `passes` states, up to the
last stage that the method uses, with the heads if the method runs them. They include the method's
own networks (S4T's synchronizer, TTTFlow's flow), and one forward pass for the prediction if the
plan is not exact. A step also makes views, losses and the update. Both are measured alternately;
the ratio of the fastest ones is in the benchmark's extra info (aim: at most 1.10).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from bench_trajectory import BATCH, DEVICE, RESNET50, SIZE, Noise, session
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from ttt_bench.adapt.session import Session
from ttt_bench.registry import METHODS

ROUNDS = 5
NAMES = [name for name in METHODS.names() if name not in ("base", "norm")]


def _total(outputs: dict[Any, Tensor]) -> Tensor:
    return torch.stack([output.sum() for output in outputs.values()]).sum()


def _synchronizer(net: Any, stages: list[Tensor]) -> Tensor:
    noise = torch.rand(BATCH, net.extra.synchronizer.options.tokens, device=DEVICE)
    latents = net.extra.latents(net.model, stages)
    return _total(net.extra.synchronized(net.model, stages, latents, noise, (SIZE, SIZE)))


def _flow(net: Any, stages: list[Tensor]) -> Tensor:
    return _total(dict(enumerate(net.extra(stages[-1]))))


OWN_NETWORKS: dict[str, Callable[[Any, list[Tensor]], Tensor]] = {
    "s4t": _synchronizer,
    "tttflow": _flow,
}
"""Method -> forward pass of the network that it adds."""


def _runs_heads(one: Session, images: Tensor) -> bool:
    """Return whether a step runs the main heads."""
    model = one.net.model
    with patch.object(model, "outputs", wraps=model.outputs) as outputs:
        one.adapt(images)
    return bool(outputs.called)


def _bare(name: str, one: Session, images: Tensor) -> Callable[[], None]:
    net, plan, passes = one.net, one.plan, one.adapter.passes(BATCH)
    heads, own = _runs_heads(one, images), OWN_NETWORKS.get(name)

    def run() -> None:
        one.ctx.norms.set(plan.adapt)
        for number in range(round(passes.forwards / BATCH)):
            stages = net.model.stages(images, passes.stages)
            total = (
                _total(net.model.outputs(stages, images.shape[-2:]))
                if heads
                else _total(dict(enumerate(stages)))
            )
            if own is not None:
                total = total + own(net, stages)
            if number < passes.backwards / BATCH:
                one.optimiser.zero_grad(set_to_none=True)  # type: ignore[union-attr]
                total.backward()
        if not plan.exact:
            one.predict(images)

    return run


def _step(one: Session, images: Tensor) -> Callable[[], None]:
    def run() -> None:
        one.adapt(images)
        if not one.plan.exact:
            one.predict(images)

    return run


def _seconds(run: Callable[[], None]) -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@pytest.mark.parametrize("name", NAMES)
def test_step_over_bare_passes(benchmark: BenchmarkFixture, name: str) -> None:
    one, images = session(name, RESNET50), Noise().whole.images.to(DEVICE)
    one.begin_batch(0, images)
    step, bare = _step(one, images), _bare(name, one, images)
    bare()
    step()
    # alternately, because the machine's speed drifts by more than the difference measured
    pairs = [(_seconds(bare), _seconds(step)) for _ in range(ROUNDS)]
    best_bare, best = (min(times) for times in zip(*pairs, strict=True))
    benchmark.pedantic(step, rounds=1)
    benchmark.extra_info |= {
        "bare_seconds": best_bare,
        "step_seconds": best,
        "ratio": round(best / best_bare, 3),
    }
    print(f"\n{name}: {best:.3f} s over {best_bare:.3f} s bare = {best / best_bare:.3f}")
