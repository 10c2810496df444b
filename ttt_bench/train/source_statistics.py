"""A method's statistics of the source, measured with the trained network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.returned import checked_statistics
from ttt_bench.adapter import Adapter, Norm, SourcePass
from ttt_bench.data.base import Dataset
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.model.network import resize
from ttt_bench.network import Batch, Net
from ttt_bench.train.chain import SourceSpec
from ttt_bench.train.loader import loader
from ttt_bench.util.process import watched
from ttt_bench.util.progress import Bar, Progress
from ttt_bench.util.seeding import derive_seed


def measure_source(
    net: Net,
    spec: SourceSpec,
    adapter: Adapter,
    dataset: Dataset,
    *,
    target_size: tuple[int, int],
    progress: Progress,
    workers: int = 0,
) -> dict[str, Tensor]:
    """Return a method's source statistics; empty if the method needs none.

    Args:
        net: the trained network, on its device; it is set to eval mode.
        spec: the source training.
        adapter: the method.
        dataset: the source's training images.
        target_size: (H, W) of the target's images.
        progress: shows one bar.
        workers: number of worker processes that decode images.

    Raises:
        BenchError: the source has too few images for one batch, or the method returns something
            else than tensors.
    """
    wanted = adapter.source_pass()
    if wanted is None:
        return {}
    ctx = HarnessContext(net.eval(), RECIPES[spec.recipe])
    use = (spec.seed, adapter.name, "statistics")
    ctx.seed(*use, "method")
    ctx.norms.set(Norm.RUNNING)
    batches = _batches(len(dataset), wanted, torch.Generator().manual_seed(derive_seed(*use)))
    if not batches:
        raise BenchError(
            f"{adapter.name} computes source statistics from at least 2 images, and {spec.domain} "
            f"has {len(dataset)}; use a source with more images"
        )
    title = f"source statistics of {adapter.name} on {spec.domain}, seed {spec.seed}"
    size = target_size if wanted.at_target_size else None
    device = next(net.parameters()).device
    with torch.no_grad(), progress.bar(title, len(batches)) as bar:
        images = _images(loader(dataset, batches, workers), size, device, bar)
        with watched(f"`source_statistics` of method {adapter.name}"):
            found = adapter.source_statistics(net, images, ctx)
    return checked_statistics(found, adapter.name)


def _batches(images: int, wanted: SourcePass, draw: torch.Generator) -> list[list[int]]:
    """Return the image indices of every batch, drawn at random; a single last image is left out."""
    order = torch.randperm(images, generator=draw).tolist()[: wanted.images]
    batches = [order[i : i + wanted.batch] for i in range(0, len(order), wanted.batch)]
    return [batch for batch in batches if len(batch) > 1]


def _images(
    batches: Iterable[Batch], size: tuple[int, int] | None, device: torch.device, bar: Bar
) -> Iterator[Tensor]:
    for batch in batches:
        images = batch.images.to(device)
        yield resize(images, size) if size else images
        bar.advance()
