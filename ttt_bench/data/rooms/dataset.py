"""Rendered rooms as a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttt_bench.data.array_folder import Stored
from ttt_bench.data.base import Dataset
from ttt_bench.data.rooms import renderer
from ttt_bench.data.rooms.cache import decode, fingerprint, open_or_render
from ttt_bench.data.rooms.looks import LOOKS, SPLITS
from ttt_bench.errors import BenchError, unknown
from ttt_bench.network import Batch
from ttt_bench.tasks import PAPER_TASKS
from ttt_bench.util.progress import Progress, Silent


class Rooms(Dataset):
    """A split of a look, rendered once and then read from the cache.

    Images are rendered by `prepare` or by the first batch, so that planning a run is fast.

    Args:
        domain: a name in `LOOKS`.
        split: a name in `SPLITS`; splits share no image.
        size: (H, W) in pixels.
        count: number of images, the first ones of the split.
        cache: the cache folder; images are in `rooms/<fingerprint>/` below it.

    Raises:
        BenchError: the domain or split is unknown, or count or size is below 1.
    """

    basis = "rendered"

    def __init__(
        self, domain: str, split: str, size: tuple[int, int], count: int, cache: Path
    ) -> None:
        if domain not in LOOKS:
            raise unknown("domain", domain, LOOKS)
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if count < 1 or min(size) < 1:
            raise BenchError(
                f"{domain}/{split}: count and size must be at least 1, got {count} images of "
                f"{size[0]}x{size[1]} pixels"
            )
        self.domain = domain
        self.size = size
        self.tasks = PAPER_TASKS
        self.fingerprint = fingerprint(LOOKS[domain], SPLITS[split], size, count)
        self._split, self._count, self._cache = split, count, cache
        self._arrays: Stored | None = None

    def __len__(self) -> int:
        return self._count

    def prepare(self, progress: Progress) -> None:
        """Render images that are missing or damaged in the cache.

        Raises:
            BenchError: the cache cannot be written.
        """
        look, seed = LOOKS[self.domain], SPLITS[self._split]
        self._arrays = open_or_render(
            look,
            seed,
            self.size,
            self._count,
            folder=self._cache / "rooms" / self.fingerprint,
            progress=progress,
            render=renderer.render,
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples at these indices, in this order.

        Stored depth is rounded to millimetres and normals to 1/32767.
        """
        if self._arrays is None:
            self.prepare(Silent())
        assert self._arrays is not None
        return decode(self._arrays, indices)
