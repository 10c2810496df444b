"""The device of a timing: its name, clocks, and speed at a large matrix product."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import torch

from ttt_bench.adapt.device import cpu_field, device_name, processor_name
from ttt_bench.studies.timing.stopwatch import Timed, clock_of, measure

SIDES = {"cpu": 2048, "cuda": 8192}
"""Kind of device -> rows and columns of the matrices of the product."""


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
        "processor": processor_name(device),
        "clock_mhz": _gpu_clock() if on_gpu else _cpu_clock(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "precision": "fp32",
    }


def _cpu_clock() -> float | None:
    found = cpu_field("cpu MHz")
    return float(found) if found else None


def _gpu_clock() -> float | None:
    command = ["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return float(done.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
