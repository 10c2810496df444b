"""Photographs that are grey, have a palette, or carry an orientation: messages and remedies."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.files import nyud_files, taskonomy_files

from ttt_bench.data.images.files import (
    LABELS,
    PHOTO,
    PHOTO_AS_STORED,
    image_file_size,
    image_header,
    read_image,
)
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

SIZE = (48, 64)
ORIENTATION = 0x0112


def picture(mode: str = "RGB") -> Image.Image:
    """Return a picture of 48x64 without symmetry."""
    rows, columns = np.mgrid[:48, :64]
    array = np.stack([rows * 5, columns * 3, rows + columns], axis=2).astype(np.uint8)
    return Image.fromarray(array).convert(mode)


def oriented(path: Path, orientation: Any, image: Image.Image | None = None) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    (image or picture()).save(path, exif=exif, quality=95)
    return path


def run_command(message: str, number: int) -> None:
    """Run one of the command lines in a message, as a user would in a shell."""
    command = message.split("python -c ")[number + 1]
    words = shlex.split("-c " + command.partition(". If they ")[0])
    subprocess.run([sys.executable, *words], check=True)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_a_picture_of_another_mode_is_refused_with_a_command_that_helps(
    tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "my photo's.png"
    picture(mode).save(path)
    with pytest.raises(DataError, match=r"expected 8-bit RGB; convert it: python -c") as caught:
        read_image(path, PHOTO)
    run_command(str(caught.value), 0)
    with Image.open(path) as converted:
        expected = picture(mode).convert("RGB")
        np.testing.assert_array_equal(read_image(path, PHOTO), np.asarray(expected))
        assert converted.mode == "RGB"


def test_label_maps_of_another_mode_get_no_such_command(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"expected 8-bit with one channel \(grey or palette\)$"):
        read_image(tmp_path / "a.png", LABELS)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_is_refused_unless_pixels_are_wanted_as_stored(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path = oriented(tmp_path / f"a{suffix}", orientation)
    for reader in (read_image, image_file_size):
        with pytest.raises(DataError, match=f"a{suffix}: .*EXIF orientation {orientation},"):
            reader(path, PHOTO)
    assert image_header(path, PHOTO_AS_STORED) == (SIZE, orientation)
    assert read_image(path, PHOTO_AS_STORED).shape == (*SIZE, 3)


@pytest.mark.parametrize("orientation", [1, 0, 9, None])
def test_no_orientation_or_an_invalid_one_is_read(tmp_path: Path, orientation: int | None) -> None:
    path = tmp_path / "a.jpg"
    if orientation is None:
        picture().save(path)
    else:
        oriented(path, orientation)
    assert read_image(path, PHOTO).shape == (*SIZE, 3)


def test_a_damaged_exif_entry_is_no_orientation(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0nonsense")
    assert read_image(tmp_path / "a.jpg", PHOTO).shape == (*SIZE, 3)


def test_both_remedies_for_an_orientation_work(tmp_path: Path) -> None:
    for number, shape in ((0, (64, 48, 3)), (1, (48, 64, 3))):
        path = oriented(tmp_path / f"{number}.png", 6)
        with pytest.raises(DataError) as caught:
            read_image(path, PHOTO)
        run_command(str(caught.value), number)
        assert read_image(path, PHOTO).shape == shape


def test_a_turned_picture_of_a_data_set_is_named_or_refused_for_its_shape(tmp_path: Path) -> None:
    root = nyud_files.write(tmp_path / "nyud")
    path = nyud_files.file_of(root, "0001", "images")
    oriented(path, 3)
    data = NYUD.open(root, "test", SIZE, Silent())
    assert any(
        f"1 images carry an EXIF orientation, such as {path}" in notice for notice in data.notices
    )
    data.prepare(Silent())
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    oriented(path, 6, turned)
    with pytest.raises(DataError, match="carries the EXIF orientation 6, which turns it") as caught:
        NYUD.open(root, "test", SIZE, Silent()).prepare(Silent())
    assert "cropped" not in str(caught.value)
    turned.save(path)
    with pytest.raises(DataError, match="cropped"):
        NYUD.open(root, "test", SIZE, Silent()).prepare(Silent())


def test_taskonomy_has_no_turned_pictures(tmp_path: Path) -> None:
    root = taskonomy_files.write(tmp_path / "taskonomy", ("house",))
    path = taskonomy_files.file_of(root, "house", "point_0_view_0", "rgb")
    with Image.open(path) as image:
        oriented(path, 3, image.copy())
    with pytest.raises(DataError, match=f"{path}: the picture carries the EXIF orientation 3"):
        Taskonomy.open(root, "test", SIZE, Silent()).prepare(Silent())
