"""The parts of a change, compared with numbers worked by hand."""

from __future__ import annotations

import numpy as np

from ttt_bench.stats.attribution import split
from ttt_bench.stats.trajectories import mean_change

TASKS = ("semseg", "depth", "edge")
BASE = np.array([20.0, 0.8, 0.2])


def test_parts_are_signed_and_relative_to_base() -> None:
    source = np.array([21.0, 0.88, 0.2])
    frozen = np.array([25.0, 0.72, 0.19])
    method = np.array([24.0, 0.6, 0.21])
    found = split(BASE, [source, frozen, method], TASKS)
    expected = [
        # semseg: 20 -> 21 -> 25 -> 24; depth: 0.8 -> 0.88 -> 0.72 -> 0.6; edge: 0.2 -> 0.19 -> 0.21
        [5, -10, 0],
        [20, 20, 5],
        [-5, 15, -10],
        [20, 25, -5],
    ]
    np.testing.assert_allclose(found[:, :3], expected, atol=1e-12)
    # Delta_TTT over all tasks and without edge
    np.testing.assert_allclose(found[:, 3], [-5 / 3, 15, 0, 40 / 3], atol=1e-12)
    np.testing.assert_allclose(found[:, 4], [-2.5, 20, 5, 22.5], atol=1e-12)


def test_parts_add_up_to_delta_ttt_in_any_shape() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.1, 50, (7, 1, 3))
    stages = [rng.uniform(0.1, 50, (7, 4, 3)) for _ in range(3)]
    found = split(np.broadcast_to(base, (7, 4, 3)), stages, TASKS)
    assert found.shape == (7, 4, 4, 5)
    np.testing.assert_allclose(found[..., :3, :].sum(axis=-2), found[..., 3, :], rtol=1e-9)
    np.testing.assert_array_equal(found[..., 3, 3], mean_change(stages[-1], base, TASKS))


def test_equal_stages_have_exactly_no_part_between_them() -> None:
    method = np.array([24.3, 0.61, 0.17])
    found = split(BASE, [BASE, method, method], TASKS)
    assert not found[[0, 2]].any()
    np.testing.assert_array_equal(found[1], found[3])


def test_a_score_of_base_that_is_0_leaves_out_its_task_and_the_mean() -> None:
    found = split(np.array([20.0, 0.8, 0.0]), [BASE, BASE], TASKS)
    assert np.isnan(found[:, [2, 3]]).all()
    assert np.isfinite(found[:, [0, 1, 4]]).all()
