"""The device of a run."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

from ttt_bench.errors import BenchError
from ttt_bench.util.process.kernels import require_workspace

_CPU_INFO = Path("/proc/cpuinfo")


def find_device(name: str, *, deterministic: bool = False) -> torch.device:
    """Return the device of that name; `auto` is a GPU if one is available.

    Args:
        name: auto, cpu, cuda or cuda:N.
        deterministic: whether the run uses deterministic kernels.

    Raises:
        BenchError: the device is not available, or it is too late in this process for
            deterministic kernels on it.
    """
    started = torch.cuda.is_initialized()
    device = _available(name)
    if deterministic and device.type == "cuda":
        require_workspace(started=started)
    return device


def _available(name: str) -> torch.device:
    """Return the device of that name; raise a BenchError if it is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda have the double precision that scoring needs")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BenchError(
            f"device {name!r} cannot be used here; try --device cpu ({str(error).splitlines()[0]})"
        ) from error
    return device


def device_name(device: torch.device) -> str:
    """Return the name of a device for manifests."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def free_memory(device: torch.device) -> None:
    """Return the memory of tensors that nothing refers to any more to the device."""
    gc.collect()  # an error and its frames may refer to each other
    if device.type == "cuda":
        torch.cuda.empty_cache()


def training_devices(device: torch.device, count: int) -> tuple[torch.device, ...]:
    """Return the devices that train a source model together: a device and the GPUs after it.

    A CPU is returned `count` times, for as many processes.

    Raises:
        BenchError: the machine has fewer GPUs.
    """
    if device.type == "cpu" or count == 1:
        return (device,) * count
    first, available = device.index or 0, torch.cuda.device_count()
    if first + count > available:
        raise BenchError(
            f"--train-devices {count} needs the devices cuda:{first} to cuda:{first + count - 1}, "
            f"but this process sees {available} GPUs; use fewer, or another --device"
        )
    return tuple(torch.device("cuda", first + n) for n in range(count))


def processor_name(device: torch.device) -> str | None:
    """Return the kind of a GPU, or the model of this machine's CPU; None if it is not known."""
    return device_name(device) if device.type == "cuda" else cpu_field("model name")


def cpu_field(name: str) -> str | None:
    """Return the first value of a field of /proc/cpuinfo; None if there is none."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    values = [line.partition(":")[2].strip() for line in lines if line.startswith(name)]
    return values[0] if values else None
