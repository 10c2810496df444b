"""What one adaptation step costs over the bare passes that a method states: ResNet-50, 256x256,
batch 8.

Bare passes, in plain PyTorch: as many forwards and backwards of the network (as far as the last
stage that the method reaches, with the heads where it runs them) as `passes` says, of the method's
own modules where these are networks in their own right (S4T's synchronizer, TTTFlow's flow), and a
forward for the prediction where the plan is not exact. A
step does the same and everything else: views, losses, bookkeeping, the update. Both are measured in
turn; the ratio of the fastest ones stands in the benchmark's extra info (aim: at most 1.10).
TTT_BENCH_SIZE sets another image size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

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
"""What the methods add that is a network in its own right."""


def _runs_heads(one: Session, images: Tensor) -> bool:
    """Whether a step runs the main heads."""
    model, calls = one.net.model, []
    outputs = model.outputs
    model.__dict__["outputs"] = lambda *arguments: (calls.append(1), outputs(*arguments))[1]
    one.adapt(images)
    del model.__dict__["outputs"]
    return bool(calls)


def _bare(name: str, one: Session, images: Tensor) -> Callable[[], None]:
    net, plan, passes = one.net, one.plan, one.adapter.passes(BATCH)
    heads, own = _runs_heads(one, images), OWN_NETWORKS.get(name)

    def run() -> None:
        one.ctx.norms.set(plan.adapt)
        for number in range(passes.forwards):
            stages = net.model.stages(images, passes.stages)
            total = (
                _total(net.model.outputs(stages, images.shape[-2:]))
                if heads
                else _total(dict(enumerate(stages)))
            )
            if own is not None:
                total = total + own(net, stages)
            if number < passes.backwards:
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
    # in turn, because a machine's speed drifts by more than what is measured
    pairs = [(_seconds(bare), _seconds(step)) for _ in range(ROUNDS)]
    best_bare, best = (min(times) for times in zip(*pairs, strict=True))
    benchmark.pedantic(step, rounds=1)
    benchmark.extra_info |= {
        "bare_seconds": best_bare,
        "step_seconds": best,
        "ratio": round(best / best_bare, 3),
    }
    print(f"\n{name}: {best:.3f} s over {best_bare:.3f} s bare = {best / best_bare:.3f}")
