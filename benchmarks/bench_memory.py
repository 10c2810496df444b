"""Peak memory of adapting, which must not grow with the number of steps or batches.

Each measurement runs in a separate process. The reported growth is the peak resident size relative
to that of one batch and two steps. The processes return large blocks to the system at once
(MALLOC_MMAP_THRESHOLD_): with glibc's default, fragmentation adds some megabytes per step.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

PROGRAM = """
import sys
import bench_trajectory as bench
from ttt_bench.config.preset import ModelConfig

name, protocol, batches, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
session = bench.session(name, ModelConfig(backbone="test_resnet"))
bench.evaluate(session, protocol, batches, steps)
# of this program alone: getrusage would include the process that started it
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


def _peak(name: str, protocol: str, batches: int, steps: int) -> int:
    """Return the peak resident size in KiB."""
    command = [sys.executable, "-c", PROGRAM, name, protocol, str(batches), str(steps)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    return int(done.stdout)


@pytest.mark.parametrize("protocol", ["online", "episodic"])
@pytest.mark.parametrize("name", ["tent", "s4t"])
def test_peak_memory(benchmark: BenchmarkFixture, name: str, protocol: str) -> None:
    small = _peak(name, protocol, 1, 2)
    more_steps = benchmark.pedantic(_peak, args=(name, protocol, 1, 12), rounds=1)
    more_batches = _peak(name, protocol, 6, 2)
    growth = {"steps_2_to_12": more_steps / small - 1, "batches_1_to_6": more_batches / small - 1}
    benchmark.extra_info |= {
        "peak_mib": small // 1024,
        **{key: round(value, 3) for key, value in growth.items()},
    }
    print(
        f"\n{name}, {protocol}: {small / 1024:.0f} MiB; "
        + ", ".join(f"{k}: {v:+.1%}" for k, v in growth.items())
    )
