"""Speed of loading training batches from a Taskonomy cache, cost per part, memory of the index.

The benchmark loads images of 256x256 with all labels, augmented, in batches of 8, in this process
and in one worker process, as training does with data.workers=1. The aim is at least 100 images per
second. The frames are generated, and genuine if the samples are available; these have no classes.
The code of `data prepare` makes the cache. The first batch, which includes the start of the worker,
is not timed. Images per processor second are reported too, since they depend less on the machine's
load. Run it alone: `python -m pytest benchmarks/bench_loader.py -s`. The figures are in the
benchmark's extra info.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.files.taskonomy_files import write

from ttt_bench.data.taskonomy import decode
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.data.taskonomy.index import IMAGE
from ttt_bench.datatools.prepare.taskonomy_cache import CacheOptions, write_cache
from ttt_bench.train.loader import loader
from ttt_bench.util.progress import Silent

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "shared" / "samples" / "taskonomy"
FRAMES, BATCH, BATCHES, SIZE = 48, 8, 40, 256
INDEXED = 300_000


def _generated(folder: Path) -> None:
    write(folder, {"hanson": [f"point_{number}_view_0" for number in range(FRAMES)]}, size=512)


def _genuine(folder: Path) -> None:
    """Copy the sample frames repeatedly, under other names."""
    stems = sorted({path.name.partition("_domain_")[0] for path in SAMPLES.rglob("point_*.png")})
    for path in SAMPLES.rglob("point_*.png"):
        stem, _, domain = path.name.partition("_domain_")
        for number in range(stems.index(stem), FRAMES, len(stems)):
            copy = (
                folder
                / path.relative_to(SAMPLES).parts[0]
                / "hanson"
                / f"point_{number}_view_0_domain_{domain}"
            )
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


@pytest.fixture(scope="module", params=["generated", "genuine"])
def frames(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Taskonomy:
    """Return a cache of 256x256 files, opened as for training."""
    if request.param == "genuine" and not SAMPLES.is_dir():
        pytest.skip("the genuine samples are not available")
    folder = tmp_path_factory.mktemp(request.param)
    {"generated": _generated, "genuine": _genuine}[request.param](folder / "full")
    write_cache(folder / "full", folder / "small", CacheOptions(size=SIZE), Silent())
    return Taskonomy.open(folder / "small", "train", (SIZE, SIZE), Silent())


@pytest.mark.parametrize("workers", [0, 1])
def test_feeding_training(benchmark: BenchmarkFixture, frames: Taskonomy, workers: int) -> None:
    order = [
        [(number * BATCH + place) % len(frames) for place in range(BATCH)]
        for number in range(BATCHES)
    ]
    rates: list[float] = []
    processors: list[float] = []

    def feed() -> None:
        batches = loader(frames, order, workers, seeds=range(BATCHES))
        before = _processor_seconds(workers)
        next(batches)
        start = time.perf_counter()
        count = sum(len(batch.images) for batch in batches)
        rates.append(count / (time.perf_counter() - start))
        processors.append((count + BATCH) / (_processor_seconds(workers) - before))

    benchmark.pedantic(feed, rounds=3)
    found = {
        "images_per_second": round(max(rates)),
        "images_per_processor_second": round(max(processors)),
    }
    benchmark.extra_info |= {**found, "tasks": list(frames.tasks)}
    words = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in found.items())
    print(f"\n{workers} workers, {', '.join(frames.tasks)}: {words} (rounds: {_rounded(rates)})")


def test_what_a_frame_costs(benchmark: BenchmarkFixture, frames: Taskonomy) -> None:
    native = [decode.read_frame(frames.frames, index, frames.tasks) for index in range(len(frames))]
    costs: dict[str, float] = {}
    for part in (IMAGE, *frames.tasks):
        costs[f"decode {part}"] = _best(
            lambda index, part=part: decode.read(frames.frames.path(index, part), part)
        )
    for task in frames.tasks:
        costs[f"target {task}"] = _best(
            lambda index, task=task: frames._target(task, native[index][task], index)
        )
    whole = _best(lambda index: frames.augmented(range(BATCH), index)) / BATCH
    benchmark.pedantic(frames.batch, args=(range(BATCH),), rounds=5)
    listed = {name: round(1000 * seconds, 2) for name, seconds in costs.items()}
    rest = whole - sum(costs.values())
    benchmark.extra_info |= {"milliseconds": listed, "whole": round(1000 * whole, 2)}
    words = ", ".join(f"{name} {milliseconds}" for name, milliseconds in listed.items())
    print(
        f"\none image, milliseconds: {words}, the rest {1000 * rest:.2f}; whole {1000 * whole:.2f}"
    )


INDEX = """
import json, tracemalloc
from pathlib import Path
from ttt_bench.data.taskonomy import index
from ttt_bench.data.taskonomy.selection import select
from ttt_bench.data.taskonomy.splits import wanted
from ttt_bench.util.progress import Silent

names = wanted("train")
each = COUNT // len(names) + 1
paths = {(name, part): Path(name, part) for name in names for part in index.PARTS}
folders = index.Folders(Path("."), ("B",), paths, ())
def listed(folder):
    suffix = index.PARTS[Path(folder).name][-1]
    return [f"point_{n // 4}_view_{n % 4}_domain_{suffix}.png" for n in range(each)]
index.os.listdir = listed
tracemalloc.start()
frames = select(folders, "train", "first_tenth", Silent()).frames
held, peak = tracemalloc.get_traced_memory()
print(json.dumps({"frames": len(frames), "held": held, "peak": peak}))
"""


def _index() -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", INDEX.replace("COUNT", str(INDEXED))],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_memory_of_an_index(benchmark: BenchmarkFixture) -> None:
    found = benchmark.pedantic(_index, rounds=1)
    megabytes = {key: round(found[key] / 1e6, 1) for key in ("held", "peak")}
    benchmark.extra_info |= {"frames": found["frames"], **megabytes}
    print(
        f"\nindex of {found['frames']} frames, MB allocated: held {megabytes['held']}, "
        f"peak {megabytes['peak']}"
    )


def _processor_seconds(workers: int) -> float:
    """Return the processor time of this process, or of its workers that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN if workers else resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _best(work: Callable[[int], Any]) -> float:
    """Return the mean seconds per frame in the fastest of five passes over the frames."""

    def passed() -> float:
        start = time.perf_counter()
        for index in range(FRAMES):
            work(index)
        return (time.perf_counter() - start) / FRAMES

    return min(passed() for _ in range(5))


def _rounded(rates: list[float]) -> str:
    return ", ".join(f"{rate:.0f}" for rate in rates)
