"""Image sums of made experiments, whose effects of methods, seeds, images and batches are known.

The logarithm of a task's error on an image is the sum of

- the task's level, an effect of the seed and an effect of the image, which all methods share;
- minus `normalisation`, for every method but Base;
- minus `updates[method]` times step / steps, for every method that is not frozen.

The last two vary by image, batch and seed: each is multiplied by 1 plus normal draws with the
standard deviations of `Effects`. Draws are independent between tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVELS = {"semseg": 0.4, "depth": 0.6, "normals": 22.0, "edge": 0.2}
"""Typical error of each task: share of wrong pixels, metres, degrees, and none."""
PIXELS, LABELLED = 5120, 800
"""Pixels of an image, and those with a semantic class."""
SPREADS = {"depth": 1.2, "edge": 0.3}
"""Standard deviation of the targets of an image."""
UPDATES = {
    "tent": 0.0,
    "tipi": 0.02,
    "ttt": -0.03,
    "tttpp": -0.05,
    "tttflow": 0.01,
    "clust3": -0.02,
    "actmad": -0.1,
    "nc_ttt": 0.005,
    "s4t": 0.03,
}


class Label(NamedTuple):
    """A method under a control."""

    method: str
    control: str = "none"


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Sizes of the effects; see the module."""

    seed: float = 0.04
    image: float = 0.3
    normalisation: float = 0.12
    updates: Mapping[str, float] = field(default_factory=lambda: UPDATES)
    change_of_image: float = 0.5
    change_of_batch: float = 0.2
    change_of_seed: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a made experiment: seeds 0 to `seeds` - 1, and steps 0 to `steps`."""

    seeds: int
    steps: int
    images: int
    batch: int
    classes: int

    @property
    def batch_of(self) -> NDArray[np.int64]:
        """Number of the batch of each image, (images,)."""
        return np.arange(self.images) // self.batch

    @property
    def batches(self) -> list[list[int]]:
        """Return the images of each batch."""
        return [np.flatnonzero(self.batch_of == n).tolist() for n in range(self.batch_of[-1] + 1)]


def labels(methods: Sequence[str]) -> list[Label]:
    """Return each method, and its frozen control if it has updates to freeze."""
    frozen = [Label(method, "frozen") for method in methods if method not in ("base", "norm")]
    return [*(Label(method) for method in methods), *frozen]


def image_sums(
    rng: np.random.Generator, shown: Sequence[Label], sizes: Sizes, effects: Effects
) -> dict[str, Array]:
    """Return task -> image sums, (labels, seeds, steps + 1, images, S), in the stored layout.

    The targets are the same for all labels, seeds and steps.
    """
    makers = {"semseg": _confusion, "depth": _aligned, "normals": _angles, "edge": _aligned}
    found = {}
    for task, make in makers.items():
        errors = LEVELS[task] * np.exp(_log_errors(rng, shown, sizes, effects))
        found[task] = make(rng, errors, task, sizes)
    return found


def _log_errors(
    rng: np.random.Generator, shown: Sequence[Label], sizes: Sizes, effects: Effects
) -> Array:
    """Return the log of the error relative to the level, (labels, seeds, steps + 1, images)."""
    seeds = rng.normal(0, effects.seed, (sizes.seeds, 1, 1))
    images = rng.normal(0, effects.image, sizes.images)
    normalisation = effects.normalisation * _variation(rng, sizes, effects)
    updates = {method: _variation(rng, sizes, effects) for method in effects.updates}
    progress = np.linspace(0, 1, sizes.steps + 1)[:, None]
    found = np.tile(seeds + images, (len(shown), 1, sizes.steps + 1, 1))
    for place, (method, control) in enumerate(shown):
        if method != "base":
            found[place] -= normalisation
        if control == "none" and method in updates:
            found[place] -= effects.updates[method] * progress * updates[method]
    return found


def _variation(rng: np.random.Generator, sizes: Sizes, effects: Effects) -> Array:
    """Return the factor of a change, (seeds, 1, images), with mean 1."""
    images = rng.normal(0, effects.change_of_image, sizes.images)
    batches = rng.normal(0, effects.change_of_batch, len(sizes.batches))
    seeds = rng.normal(0, effects.change_of_seed, (sizes.seeds, 1, 1))
    return 1 + images + batches[sizes.batch_of] + seeds


def _confusion(rng: np.random.Generator, errors: Array, task: str, sizes: Sizes) -> Array:
    """Return whole counts (..., K * K): wrong pixels are spread evenly over the other classes.

    They are rounded at random, so that they differ as those of a network do.
    """
    count = sizes.classes
    shares = rng.dirichlet(np.full(count, 0.5), sizes.images)
    truth = np.round(LABELLED * shares)  # (images, K)
    share = np.clip(errors, 0, 0.95)[..., None] / count  # (..., images, 1)
    wrong = np.floor(truth * share + rng.random((*errors.shape, count)))
    wrong = np.minimum(wrong, np.floor(truth / (count - 1)))  # no more than there are
    own = np.eye(count, dtype=bool)
    # (..., images, K) -> (..., images, K, K), truth by row
    counts = np.where(own, (truth - (count - 1) * wrong)[..., None], wrong[..., None])
    return counts.reshape(*errors.shape, count * count)


def _angles(rng: np.random.Generator, errors: Array, task: str, sizes: Sizes) -> Array:
    """Return n and the sum of angles, (..., 2)."""
    return np.stack([np.full(errors.shape, float(PIXELS)), PIXELS * errors], axis=-1)


def _aligned(rng: np.random.Generator, errors: Array, task: str, sizes: Sizes) -> Array:
    """Return the six sums of targets and predictions, which are targets plus noise, (..., 6)."""
    spread = SPREADS[task]
    mean = rng.normal(2 * spread, spread / 4, sizes.images)
    t, tt = PIXELS * mean, PIXELS * (mean**2 + spread**2)
    n, st, stt = (np.broadcast_to(value, errors.shape) for value in (float(PIXELS), t, tt))
    return np.stack([n, st, st, stt + PIXELS * errors**2, stt, stt], axis=-1)
