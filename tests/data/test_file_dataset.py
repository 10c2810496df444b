"""The base of custom data sets, which give one image with its targets at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.files.scenes import scene
from support.notices import Notices

from ttt_bench.data.images.file_dataset import ExpectedValues, SampledDataset
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

TASKS = ("semseg", "depth", "normals", "edge")


def sound(height: int = 20, width: int = 30) -> Any:
    """Return arrays that follow every convention."""
    rows, columns = np.mgrid[:height, :width]
    return {
        "image": np.stack([rows, columns, rows + columns]).astype(np.uint8),
        "semseg": (columns // 10).astype(np.uint8),
        "depth": (1 + rows[None] / 10).astype(np.float32),
        "normals": scene(128).vectors[:, :height, :width].astype(np.float32),
        "edge": (columns[None] % 10 == 0).astype(np.float32),
    }


class Given(SampledDataset):
    """A data set of given samples."""

    domain, tasks, fingerprint = "given", TASKS, "given"

    def __init__(self, *samples: Any, size: tuple[int, int] = (32, 40)) -> None:
        self.samples, self.size = samples, size

    def __len__(self) -> Any:
        return len(self.samples)

    def sample(self, index: int) -> Any:
        found = self.samples[index]
        if isinstance(found, Exception):
            raise found
        return found


def test_images_of_any_size_lie_in_the_middle_of_a_batch() -> None:
    batch = Given(sound(20, 30), sound(32, 40), sound(64, 80)).batch([0, 1, 2])
    assert batch.images.shape == (3, 3, 32, 40)
    assert batch.targets["semseg"].dtype == torch.int64
    small = sound(20, 30)
    np.testing.assert_array_equal(batch.targets["depth"][0, 0, 6:26, 5:35], small["depth"][0])
    np.testing.assert_array_equal(
        np.rint(batch.images[0, :, 6:26, 5:35].numpy() * 255), small["image"]
    )
    for task in TASKS:
        around = batch.targets[task][0].clone()
        around[..., 6:26, 5:35] = 255
        assert (around == 255).all()
    np.testing.assert_array_equal(batch.targets["semseg"][2], sound(64, 80)["semseg"][1::2, 1::2])


def test_training_views_depend_on_the_seed_and_the_position_alone() -> None:
    data = Given(sound(), sound(40, 60))
    one, again = data.augmented([0, 1, 1], 7), data.augmented([0, 1, 1], 7)
    assert torch.equal(one.images, again.images)
    assert torch.equal(data.augmented([0, 1], 7).images, one.images[:2])
    assert not torch.equal(one.images[1], one.images[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"depth": np.ones((1, 20, 29), np.float32)},
            "depth is float32 (1, 20, 29), expected float32 (1, 20, 30)",
        ),
        (
            {"depth": np.ones((20, 30), np.float32)},
            "depth is float32 (20, 30), expected float32 (1, 20, 30)",
        ),
        (
            {"normals": np.zeros((3, 20, 30))},
            "normals is float64 (3, 20, 30), expected float32 (3, 20, 30)",
        ),
        (
            {"image": np.zeros((3, 20, 30), np.float32)},
            "image is float32 (3, 20, 30), expected uint8 (3, 20, 30)",
        ),
        (
            {"semseg": np.zeros((20, 30), np.int64)},
            "semseg is int64 (20, 30), expected uint8 (20, 30)",
        ),
        (
            {"other": np.zeros(3)},
            "the sample holds image, semseg, depth, normals, edge, other, expected image, semseg",
        ),
    ],
)
def test_arrays_of_another_form_are_refused_wherever_they_are_used(
    change: Any, message: str
) -> None:
    data = Given(sound(), {**sound(), **change})
    for attempt in (
        lambda: data.batch([1]),
        lambda: data.augmented([1], 0),
        lambda: data.prepare(Silent()),
    ):
        with pytest.raises(DataError) as caught:
            attempt()
        assert f"given, image 1: {message}" in str(caught.value)
    data.batch([0])


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        ("depth", np.nan, "depth has values that are not finite"),
        ("edge", np.inf, "edge has values that are not finite"),
        ("depth", -1.0, "depth has negative values"),
        ("normals", 0.0, "normals have lengths from 0 to 1"),
    ],
)
def test_values_that_no_target_may_have_are_found_before_a_run(
    task: str, value: Any, message: str
) -> None:
    bad = sound()
    bad[task][..., 3, 4] = value
    with pytest.raises(DataError) as caught:
        Given(sound(), bad).prepare(Silent())
    assert f"given, image 1: {message}" in str(caught.value)
    bad[task][..., 3, 4] = 255
    Given(sound(), bad).prepare(Silent())


def test_all_files_are_looked_at_once_and_the_first_problems_are_named() -> None:
    broken = [DataError(f"file {number}: empty file (0 bytes)") for number in range(8)]
    data, notices = Given(sound(), *broken), Notices()
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            data.prepare(notices)
        message = str(caught.value)
        assert "given: 8 bad files among 9 images" in message
        assert "file 4" in message
        assert "file 5" not in message
        assert "and 3 more" in message
    assert notices.titles == ["checking given's files"], "the result is stored"


def expecting(*samples: Any, classes: int | None = 3, metres: bool = True) -> Given:
    data = Given(*samples)
    data.expected = ExpectedValues(classes=classes, depth_in_metres=metres)
    return data


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        ("semseg", 3, "semseg holds 3, expected 0..2 or 255"),
        ("semseg", 254, "semseg holds 254, expected 0..2 or 255"),
        ("depth", 0.0, "depth is 0 in 0.2% of its values; 255 marks a pixel without a target"),
    ],
)
def test_values_out_of_the_declared_range_are_found_before_a_run(
    task: str, value: Any, message: str
) -> None:
    bad = sound()
    bad[task][..., 3, 4] = value
    with pytest.raises(DataError) as caught:
        expecting(sound(), bad).prepare(Silent())
    assert f"given, image 1: {message}" in str(caught.value)
    expecting(sound(), bad, classes=None, metres=False).prepare(Silent())
    bad[task][..., 3, 4] = 255
    expecting(sound(), bad).prepare(Silent())


def test_depth_in_millimetres_is_found_before_a_run() -> None:
    bad = sound()
    bad["depth"] *= 1000
    with pytest.raises(DataError, match=r"image 1: depth has a median of \d+ m, expected metres"):
        expecting(sound(), bad).prepare(Silent())
    expecting(sound(), bad, metres=False).prepare(Silent())


def test_a_sample_that_is_drawn_anew_at_each_call_is_found_before_a_run() -> None:
    class Drawn(Given):
        def sample(self, index: int) -> Any:
            noise = np.random.default_rng().normal(size=(1, 20, 30))
            return {**sound(), "depth": np.abs(noise).astype(np.float32) + 1}

    with pytest.raises(DataError, match=r"image 0: two calls of `sample` give different arrays"):
        Drawn(sound()).prepare(Silent())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("depth"), "KeyError: 'depth'"),
        (FileNotFoundError(2, "No such file or directory", "/a/5.png"), "directory: /a/5.png"),
        (AttributeError("two\nlines"), "AttributeError: two lines"),
    ],
)
def test_an_error_of_the_data_set_s_code_names_the_image_and_the_line(
    error: Exception, words: str
) -> None:
    data = Given(sound(), error)
    for attempt in (lambda: data.prepare(Silent()), lambda: data.batch([1])):
        with pytest.raises(DataError) as caught:
            attempt()
        assert "given, image 1: `sample` failed at test_file_dataset.py:" in str(caught.value)
        assert words in str(caught.value)


def test_a_sample_that_is_no_mapping_of_arrays_is_an_error_of_the_data_set() -> None:
    for wrong in ([1, 2], {**sound(), "depth": [1.0]}, None):
        with pytest.raises(DataError, match="given, image 0: `sample` failed"):
            Given(wrong).batch([0])
