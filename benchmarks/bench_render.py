"""Speed of rendering images of 64x64 with labels into a cache, as a first run does.

Run with `pytest benchmarks/bench_render.py`. The images per second are in the benchmark's extra
info.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ttt_bench.data.rooms import LOOKS, Rooms, render
from ttt_bench.util.progress import Silent

IMAGES = 256


@pytest.mark.parametrize("look", ["rooms", "rooms-mix"])
def test_render_into_a_cache(benchmark: BenchmarkFixture, tmp_path: Path, look: str) -> None:
    fresh: Iterator[int] = count()
    benchmark.pedantic(
        lambda: Rooms(look, "train", (64, 64), IMAGES, tmp_path / str(next(fresh))).prepare(
            Silent()
        ),
        rounds=3,
        warmup_rounds=1,
    )
    benchmark.extra_info["images_per_second"] = round(IMAGES / benchmark.stats.stats.median)


@pytest.mark.parametrize("look", ["rooms", "rooms-mix"])
def test_render_one_chunk(benchmark: BenchmarkFixture, look: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the cache's workers does
    benchmark.pedantic(
        lambda: render(LOOKS[look], 1, range(16), (64, 64)), rounds=5, warmup_rounds=1
    )
    torch.set_num_threads(threads)
    benchmark.extra_info["images_per_second"] = round(16 / benchmark.stats.stats.median)


def test_read_a_batch(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    rooms = Rooms("rooms", "train", (64, 64), 64, tmp_path)
    rooms.prepare(Silent())
    benchmark(rooms.batch, range(0, 64, 4))
    benchmark.extra_info["images_per_second"] = round(16 / benchmark.stats.stats.median)
