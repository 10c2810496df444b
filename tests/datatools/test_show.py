"""Contact sheets, and the colours of their pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.files.taskonomy_files import write

from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.datatools.show import contact_sheet
from ttt_bench.metrics import colours
from ttt_bench.metrics.base import metrics_of
from ttt_bench.util.progress import Silent

GREY = (221, 221, 221)


def test_every_class_has_its_colour_and_255_is_light_grey() -> None:
    picture = metrics_of("semseg").picture(np.array([[0, 1], [6, 255]]))
    assert picture.dtype == np.uint8
    assert tuple(picture[0, 0]) == colours.CLASS_COLOURS[0]
    assert tuple(picture[1, 0]) == colours.CLASS_COLOURS[6]
    assert tuple(picture[1, 1]) == GREY
    assert len({*colours.CLASS_COLOURS, GREY}) == len(colours.CLASS_COLOURS) + 1
    assert colours.class_colour(len(colours.CLASS_COLOURS)) == colours.CLASS_COLOURS[0]


def test_depth_grows_brighter_and_is_cut_at_its_range() -> None:
    picture = colours.viridis(np.array([[0.0, 1.0, 2.0, 3.0, 9.0, 255.0]]), 1.0, 3.0)[0].astype(int)
    assert tuple(picture[0]) == tuple(picture[1]) == (68, 1, 84)
    assert tuple(picture[3]) == tuple(picture[4]) == (253, 231, 37)
    assert picture[1].sum() < picture[2].sum() < picture[3].sum()
    assert tuple(picture[5]) == GREY
    assert (colours.viridis(np.ones((2, 2)), 1.0, 1.0) == (68, 1, 84)).all()


def test_normals_show_their_direction() -> None:
    normals = np.full((3, 1, 3), 255.0)
    normals[:, 0, 0] = (1, 0, 0)
    normals[:, 0, 1] = (0, 0, -5)
    picture = colours.directions(normals)
    assert picture[0].tolist() == [[255, 128, 128], [128, 128, 0], list(GREY)]
    assert colours.directions(np.zeros((3, 1, 1))).tolist() == [[[128, 128, 128]]]


def test_edges_are_grey() -> None:
    picture = colours.grey(np.array([[0.0, 0.5, 1.0, 255.0, np.nan]]), 0.0, 1.0)
    assert picture[0].tolist() == [[0] * 3, [128] * 3, [255] * 3, list(GREY), list(GREY)]
    assert colours.grey(np.array([[4.0]]), -1.0, 9.0).tolist() == [[[128] * 3]]


@pytest.mark.parametrize(
    "domains", [("rgb", "normal"), ("rgb", "depth_zbuffer", "segment_semantic")]
)
def test_a_contact_sheet_has_a_row_an_image_and_a_column_a_task(
    tmp_path: Path, domains: tuple[str, ...]
) -> None:
    write(tmp_path / "t", ["ihlen"], domains=domains)
    data = Taskonomy.open(tmp_path / "t", "test", (32, 48), Silent(), subset="all")
    classes = LABEL_SPACES["taskonomy_nyud_7"].classes
    sizes = {}
    for count in (1, 3):
        contact_sheet(data, range(count), classes, tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.format == "PNG"
            sizes[count] = sheet.size
            seen = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24)}
    assert sizes[3][1] > sizes[1][1] + 200
    assert sizes[1][0] == sizes[3][0] == int(110 * 2.2 * len(domains))
    shows_classes = {colours.CLASS_COLOURS[1], colours.CLASS_COLOURS[6], GREY} <= seen
    assert shows_classes == ("segment_semantic" in domains)
