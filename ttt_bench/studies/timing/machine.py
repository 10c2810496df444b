"""The device of a timing: its name, clocks, and speed at a large matrix product."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from ttt_bench.adapt.device import device_name
from ttt_bench.studies.timing.stopwatch import Timed, clock_of, measure

SIDES = {"cpu": 2048, "cuda": 8192}
"""Kind of device -> rows and columns of the matrices of the product."""
_CPU_INFO = Path("/proc/cpuinfo")


def product_speed(device: torch.device, limit: float) -> tuple[float, Timed]:
    """Return the FLOP/s of a product of two large matrices in single precision, and its time.

    Args:
        device: the device.
        limit: seconds.
    """
    side = SIDES[device.type]
    a, b = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    timed = measure(lambda: a @ b, clock_of(device), limit)
    return 2 * side**3 / timed.median, timed


def machine(device: torch.device) -> dict[str, Any]:
    """Return name, processor, clocks in MHz as found (None if unknown), threads and precision."""
    on_gpu = device.type == "cuda"
    return {
        "device": device_name(device),
        "processor": device_name(device) if on_gpu else _cpu_field("model name"),
        "clock_mhz": _gpu_clock() if on_gpu else _cpu_clock(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "precision": "fp32",
    }


def _cpu_field(name: str) -> str | None:
    """Return the first value of a field of /proc/cpuinfo; None if there is none."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    values = [line.partition(":")[2].strip() for line in lines if line.startswith(name)]
    return values[0] if values else None


def _cpu_clock() -> float | None:
    found = _cpu_field("cpu MHz")
    return float(found) if found else None


def _gpu_clock() -> float | None:
    command = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return float(done.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
