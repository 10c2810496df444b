"""Made curves of four tasks with a known lag or a known disagreement of direction.

Each set of curves has its own number of steps, lag or disagreement, and speed. What must not
matter is drawn as well: levels, units and directions of the scores, a gain of 0.5 % to 20 % of the
level that differs from task to task, noise of 0.5 % to 5 % of a curve's range, and in one of five
sets a flat curve with noise of 1e-6 of its level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Shapes = Callable[[np.random.Generator, int], tuple[Array, Array]]
"""A function of a generator and N: curves (4, N + 1), and the truth for each pair, (4, 4)."""

STEPS = (10, 20, 40)
LEVELS = np.array([[40.0], [0.7], [27.0], [0.25]])
LOWER = (False, True, True, True)


@dataclass(frozen=True, kw_only=True)
class Made:
    """S sets of curves with the same number of steps.

    Attributes:
        curves: scores at steps 0..N, (S, 4, N + 1); for the tasks of `LOWER` lower is better.
        truth: the lag as a share of N, or the share of motion in opposite directions, (S,).
        gain: the mean relative gain of the tasks, (S,).
    """

    curves: Array
    truth: Array
    gain: Array


def made(kind: str, sets: int, seed: int = 0) -> list[Made]:
    """Return sets of curves of a kind of `KINDS`, as many for each number of `STEPS`."""
    return [_made(KINDS[kind], sets, steps, [seed, steps]) for steps in STEPS]


def late(rng: np.random.Generator, steps: int) -> tuple[Array, Array]:
    """Return curves that rise and saturate, each after its lag."""
    lags = _lags(rng, steps)
    latest = max(0.6 * steps - lags.max(), 0.0)
    since = np.arange(steps + 1) - rng.uniform(0, latest) - lags[:, None]
    speed = rng.uniform(0.05, 0.2) * steps
    return 1 - np.exp(-np.maximum(since, 0) / speed), _distances(lags) / steps


def peaked(rng: np.random.Generator, steps: int) -> tuple[Array, Array]:
    """Return curves that peak, each after its lag, some of them at step 0 or after step N."""
    lags = _lags(rng, steps)
    centre = rng.uniform(0.25, 0.75) * steps + lags - lags.mean()
    width = rng.uniform(0.1, 0.3) * steps
    bumps = np.exp(-0.5 * ((np.arange(steps + 1) - centre[:, None]) / width) ** 2)
    return bumps, _distances(lags) / steps


def opposed(rng: np.random.Generator, steps: int) -> tuple[Array, Array]:
    """Return curves that move in opposite directions at random steps."""
    speed = _speed(rng, steps) * np.exp(rng.normal(0, 0.5, steps))
    chance = rng.uniform(0, 0.6) * rng.uniform(0.3, 1, (4, 1))
    return _moving(speed, np.where(rng.random((4, steps)) < chance, -1.0, 1.0))


def parting(rng: np.random.Generator, steps: int) -> tuple[Array, Array]:
    """Return curves that rise, some of them until a step from which on they fall."""
    turns = np.where(rng.random(4) < 0.5, rng.integers(0, steps, 4), steps)
    signs = np.where(np.arange(steps) < turns[:, None], 1.0, -1.0)
    return _moving(_speed(rng, steps), signs)


LAGGED: dict[str, Shapes] = {"late": late, "peaked": peaked}
DISAGREEING: dict[str, Shapes] = {"opposed": opposed, "parting": parting}
KINDS = LAGGED | DISAGREEING


def _made(shapes: Shapes, sets: int, steps: int, seed: list[int]) -> Made:
    rng = np.random.default_rng(seed)
    drawn = [_dressed(rng, *shapes(rng, steps)) for _ in range(sets)]
    curves, truth, gain = (np.array(values) for values in zip(*drawn, strict=True))
    return Made(curves=curves, truth=truth, gain=gain)


def _dressed(rng: np.random.Generator, shapes: Array, pairs: Array) -> tuple[Array, float, float]:
    """Return scores of shapes with the truth of the pairs that are not flat, and the mean gain."""
    noise = np.exp(rng.uniform(np.log(0.005), np.log(0.05), (4, 1)))
    noise = noise * np.ptp(shapes, axis=1, keepdims=True) * rng.standard_normal(shapes.shape)
    gain = np.exp(rng.uniform(np.log(0.005), np.log(0.2)) + rng.normal(0, 0.5, (4, 1)))
    relative = gain * (shapes + noise)
    kept = [0, 1, 2, 3]
    if rng.random() < 0.2:
        flat = kept.pop(rng.integers(4))
        relative[flat] = 1e-6 * rng.standard_normal(shapes.shape[1])
    sign = np.where(LOWER, -1.0, 1.0)[:, None]
    scores = LEVELS * np.exp(rng.normal(0, 0.2, (4, 1))) * (1 + sign * relative)
    truth = float(np.mean([pairs[i, j] for i, j in combinations(kept, 2)]))
    return scores, truth, float(gain[kept].mean())


def _lags(rng: np.random.Generator, steps: int) -> Array:
    """Return four lags of at most half of the steps, (4,)."""
    return rng.permutation(np.linspace(0, 1, 4)) * rng.uniform(0, 0.5) * steps


def _speed(rng: np.random.Generator, steps: int) -> Array:
    """Return how far a curve moves at each step, (N,): less and less, by a factor of up to 20."""
    return np.exp(-np.arange(steps) / steps * rng.uniform(0, 3))


def _moving(speed: Array, signs: Array) -> tuple[Array, Array]:
    """Return curves that move with these signs, (4, N), and the opposite share of each pair."""
    moves = speed / speed.sum() * signs
    curves = np.concatenate([np.zeros((4, 1)), np.cumsum(moves, axis=1)], axis=1)
    opposite = signs[:, None] != signs[None]
    return curves, (opposite * speed).sum(axis=-1) / speed.sum()


def _distances(lags: Array) -> Array:
    return np.abs(lags[:, None] - lags[None])
