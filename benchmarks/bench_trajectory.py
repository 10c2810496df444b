"""Time of an episodic trajectory relative to the bare passes of the method.

The network is ResNet-50 with images of 256x256 in batches of 8. The bare passes are 40 times
(forward + backward + update), and n forward passes: n = 1 if the plan is exact, else 41. Both are
measured alternately, three times; the ratio of the fastest ones is in the benchmark's extra info
(aim: at most 1.05). TTT_BENCH_STEPS sets the number of steps, TTT_BENCH_SIZE the image size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from support.fakes import TARGET
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.optimiser import make_optimiser, set_batch
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Norm
from ttt_bench.config.merging import make_request
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.preset import ModelConfig, TrainingSettings, resolve_preset
from ttt_bench.data.base import Dataset
from ttt_bench.losses import RECIPES
from ttt_bench.metrics.base import Scoring
from ttt_bench.network import Batch, Net
from ttt_bench.protocols import protocol_of
from ttt_bench.registry import METHODS
from ttt_bench.train.chain import SourceSpec
from ttt_bench.train.net import build_net

STEPS = int(os.environ.get("TTT_BENCH_STEPS", "40"))
ROUNDS = 3
SIZE, BATCH = int(os.environ.get("TTT_BENCH_SIZE", "256")), 8
TASKS = {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}
RESNET50 = ModelConfig(backbone="resnet50")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# full single precision, as in a run
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
TRAINING = TrainingSettings(
    batch=8, shared_iterations=0, iterations=1, shared_lr=1e-3, lr=1e-3, weight_decay=0
)


class Noise(Dataset):
    """A data set of one batch of random images and targets."""

    domain, size, tasks, fingerprint = "noise", (SIZE, SIZE), tuple(TASKS), "noise"

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.whole = Batch(
            torch.rand(BATCH, 3, SIZE, SIZE, generator=draw),
            {
                "semseg": torch.randint(0, 7, (BATCH, SIZE, SIZE), generator=draw),
                "depth": torch.rand(BATCH, 1, SIZE, SIZE, generator=draw),
                "normals": torch.nn.functional.normalize(
                    torch.randn(BATCH, 3, SIZE, SIZE, generator=draw), dim=1
                ),
                "edge": torch.rand(BATCH, 1, SIZE, SIZE, generator=draw).round(),
            },
        )

    def __len__(self) -> int:
        return BATCH

    def batch(self, indices: Any) -> Batch:
        return self.whole


def settings_of(name: str) -> MethodSettings:
    """Return the settings of a method under the paper's protocol."""
    return resolve_method(METHODS.load(name), resolve_preset("paper", {}), make_request({}, {}))


def session(name: str, model: ModelConfig) -> Session:
    """Return a method bound to an untrained network; times do not depend on the weights."""
    settings = settings_of(name)
    adapter = settings.adapter
    spec = SourceSpec(
        domain="noise",
        model=model,
        tasks=TASKS,
        recipe="weighted",
        training=TRAINING,
        fingerprint="noise",
        seed=0,
    )
    net = build_net(spec, adapter).to(DEVICE)
    return Session(
        net,
        adapter,
        target=TARGET,
        optimiser=settings.optimiser,
        statistics=statistics(net, adapter),
        recipe=RECIPES["weighted"],
        seed=0,
    )


def statistics(net: Net, adapter: Adapter) -> dict[str, Tensor]:
    """Return the method's source statistics of a few batches of noise; empty if it needs none."""
    wanted = adapter.source_pass()
    if wanted is None:
        return {}
    ctx = HarnessContext(net.eval(), RECIPES["weighted"])
    ctx.norms.set(Norm.RUNNING)
    batches = (torch.rand(wanted.batch, 3, SIZE, SIZE).to(DEVICE) for _ in range(4))
    with torch.no_grad():
        return adapter.source_statistics(net, batches, ctx)


def evaluate(one: Session, protocol: str, batches: int, steps: int) -> None:
    """Adapt and score, as a run does."""
    record = Record(
        batches=[list(range(i * BATCH, (i + 1) * BATCH)) for i in range(batches)], steps=steps
    )
    ProtocolRun(
        session=one,
        dataset=Noise(),
        tasks=tuple(TASKS),
        scoring=Scoring(edge_sigmoid=True, depth_nonnegative=True),
        record=record,
        device=DEVICE,
    ).run(protocol_of(protocol))


def _harness(name: str) -> Callable[[], None]:
    one = session(name, RESNET50)
    return lambda: evaluate(one, "episodic", 1, STEPS)


def _bare(name: str) -> Callable[[], None]:
    """Return the method's passes alone: without scoring, resets and records."""
    one = session(name, RESNET50)
    images = Noise().whole.images.to(DEVICE)
    moved, plan, net = list(one.moved.values()), one.plan, one.net
    settings = settings_of(name).optimiser
    optimiser = make_optimiser(moved, settings)
    set_batch(optimiser, settings, BATCH)
    one.begin_batch(0, images)

    def forward() -> None:
        one.ctx.norms.set(plan.predict)
        with torch.no_grad():
            net.model(images)

    def run() -> None:
        for _ in range(STEPS):
            out = one.step(images)
            optimiser.zero_grad(set_to_none=True)
            sum(out.losses.values(), torch.zeros((), device=DEVICE)).backward()
            optimiser.step()
            if not plan.exact:
                forward()
        forward()

    return run


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@pytest.mark.parametrize("name", ["tent", "actmad", "s4t"])
def test_trajectory_over_bare_passes(benchmark: BenchmarkFixture, name: str) -> None:
    harness, bare = _harness(name), _bare(name)
    bare_seconds: list[float] = []
    # alternately, because the machine's speed drifts by more than the difference measured
    benchmark.pedantic(harness, setup=lambda: bare_seconds.append(_seconds(bare)), rounds=ROUNDS)
    seconds, bare_best = benchmark.stats.stats.min, min(bare_seconds)
    benchmark.extra_info |= {
        "steps": STEPS,
        "bare_seconds": bare_seconds,
        "ratio": round(seconds / bare_best, 3),
    }
    print(
        f"\n{name}: {seconds:.1f} s over {bare_best:.1f} s bare = {seconds / bare_best:.3f} "
        f"({STEPS} steps)"
    )
