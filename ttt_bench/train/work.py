"""The work of source training and source statistics, as `results.timed_work` records it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ttt_bench.adapter import Adapter
from ttt_bench.config.preset import ModelConfig
from ttt_bench.data.base import Dataset
from ttt_bench.errors import BenchError
from ttt_bench.model.architecture import network_fields
from ttt_bench.results.timed_work import TIMES, Work, read_time
from ttt_bench.train.chain import SourceSpec, TrainingStage, source_options

DEVICES = "devices"
"""The condition of a training by several devices: their number."""


def needs_of(model: ModelConfig, size: tuple[int, int], device: str) -> dict[str, Any]:
    """Return the conditions without which one time does not predict another.

    Args:
        model: the network.
        size: (H, W) of the images.
        device: name of the device; the number of threads is that of this process.
    """
    return {
        "network": network_fields(model),
        "size": list(size),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def training_work(
    spec: SourceSpec, stage: TrainingStage, dataset: Dataset, device: str, *, devices: int = 1
) -> Work:
    """Return the work of a training stage, in images; supervised stages are of one kind.

    Args:
        spec: the source training.
        stage: the stage.
        dataset: the training images.
        device: name of the device.
        devices: number of devices that train together.
    """
    adapter = stage.adapter
    objective = f"{adapter.name}, {stage.phase.name}" if adapter else "task losses"
    return Work(
        kind=f"training with {objective}",
        needs=needs_of(spec.model, dataset.size, device) | _several(devices),
        likes={
            "batch": spec.training.batch,
            "tasks": list(spec.tasks),
            "options": source_options(adapter) if adapter else {},
            "domain": spec.domain,
            "iterations": stage.iterations,
        },
        units=stage.iterations * spec.training.batch,
    )


def devices_of(checkpoint: Path) -> int:
    """Return the number of devices that trained a checkpoint, 1 if it is not known."""
    try:
        needs = read_time(checkpoint.with_suffix(TIMES)).work.needs
    except BenchError:
        return 1
    return int(needs.get(DEVICES, 1))


def _several(devices: int) -> dict[str, int]:
    return {DEVICES: devices} if devices > 1 else {}


def statistics_work(
    key: Mapping[str, Any],
    spec: SourceSpec,
    adapter: Adapter,
    dataset: Dataset,
    device: str,
) -> Work:
    """Return the work of source statistics, in images; `key` is their `statistics_key`."""
    images, batch = key["pass"]
    size = tuple(key["size"]) if key["size"] else dataset.size
    return Work(
        kind=f"source statistics of {adapter.name}",
        needs=needs_of(spec.model, size, device),
        likes={"batch": batch, "options": key["options"], "domain": spec.domain},
        units=min(images, len(dataset)),
    )
