"""`data list`, `data show` and `pairs list` as commands, on files in the real formats."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command import call, refused
from support.files import nyud_files, pascal_files, taskonomy_files
from support.short_form import short_form

from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.metrics import colours

Show = Callable[..., tuple[Image.Image, str]]

SHEETS = {
    "taskonomy": ("taskonomy_nyud_7", 5),
    "nyud": ("taskonomy_nyud_7", 5),
    "pascal": ("taskonomy_pascal_6", 4),
}
"""The first label space of each real data set, and its columns: the image and the tasks."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    stems = [f"point_{number}_view_0" for number in range(10)]
    taskonomy_files.write(folder / "taskonomy", {"ihlen": stems, "hanson": ["point_0_view_0"]})
    nyud_files.write(folder / "nyud" / "NYUDv2")
    pascal_files.write(folder / "pascal" / "PASCALContext")
    return folder


@pytest.fixture
def show(root: Path, tmp_path: Path) -> Show:
    """Draw a sheet; return its picture and the messages."""

    def call_it(name: str, *arguments: str) -> tuple[Image.Image, str]:
        path = tmp_path / "sheet.png"
        given = ("--size", "64x96", "--data-root", str(root), "--out", str(path))
        done = call("data", "show", name, *given, *arguments, COLUMNS="200")
        assert done.returncode == 0, done.stderr
        with Image.open(path) as picture:
            return picture.convert("RGB"), done.stderr

    return call_it


def pixels(picture: Image.Image) -> Counter[Any]:
    """Return the number of pixels per colour."""
    return Counter({colour: count for count, colour in picture.getcolors(1 << 24)})


def legend(picture: Image.Image) -> Image.Image:
    """Return the lowest part of a sheet, which contains no image."""
    return picture.crop((0, picture.height - 80, picture.width, picture.height))


@pytest.mark.parametrize("name", SHEETS)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", short_form(("corrected", "official"), ("corrected",)))
def test_every_real_data_set_is_drawn_with_its_classes(
    show: Show, name: str, split: str, variant: str
) -> None:
    space, columns = SHEETS[name]
    picture, output = show(name, "--split", split, "--count", "2", "--data-variant", variant)
    assert picture.width == int(110 * 2.2 * columns)
    there = pixels(legend(picture))
    for index in range(len(LABEL_SPACES[space].classes)):
        assert there[colours.CLASS_COLOURS[index]], f"class {index} is in the legend"
    assert there[colours.NO_TARGET]
    assert "these files were not checked" in output, "notices are shown"


def test_pixels_that_a_variant_masks_are_grey(show: Show) -> None:
    masked, official = (
        pixels(show("taskonomy", "--count", "1", "--data-variant", variant)[0])[colours.NO_TARGET]
        for variant in ("corrected", "official")
    )
    assert masked > official > 0


def test_a_shift_changes_the_image_and_no_label(show: Show) -> None:
    plain, _ = show("nyud", "--count", "1")
    shifted, output = show("nyud+contrast@0.05", "--count", "1")
    assert "contrast@0.05" in output
    labels = [sheet.crop((242, 0, *sheet.size)).tobytes() for sheet in (plain, shifted)]
    assert labels[0] == labels[1]
    # from the bright corner of the image to its dark box, without the padding around it
    pictures = [sheet.crop((60, 70, 182, 150)) for sheet in (plain, shifted)]
    spans = [max(high - low for low, high in picture.getextrema()) for picture in pictures]
    assert spans[1] < 0.2 * spans[0]


def test_the_label_space_is_chosen_or_ones_own(show: Show, tmp_path: Path, root: Path) -> None:
    three, _ = show("nyud", "--label-space", "nyud_pascal_4")
    assert pixels(legend(three))[colours.CLASS_COLOURS[4]] == 0, "it has four classes"
    config = tmp_path / "own.toml"
    config.write_text(
        'label_space = "two"\n[label_spaces.two]\nclasses = ["bed", "seat"]\nnyud = [4, [5, 6]]\n'
    )
    own, _ = show("nyud", "--config", str(config), "--count", "1")
    seven, _ = show("nyud", "--count", "1")
    column = (242, 0, 484, own.height - 100)
    bed, chair, sofa = (
        colours.CLASS_COLOURS[LABEL_SPACES["taskonomy_nyud_7"].classes.index(n)]
        for n in ("bed", "chair", "sofa")
    )
    before, after = pixels(seven.crop(column)), pixels(own.crop(column))
    assert after[colours.CLASS_COLOURS[0]] == before[bed] > 0
    assert after[colours.CLASS_COLOURS[1]] == before[chair] + before[sofa]
    message = refused(
        "data", "show", "nyud", "--label-space", "taskonomy_pascal_6", "--data-root", str(root)
    )
    assert "nyud: label space taskonomy_pascal_6 has no ids for nyud" in message


def test_few_frames_name_the_subset_that_has_some(tmp_path: Path) -> None:
    taskonomy_files.write(tmp_path / "taskonomy", ["ihlen"])
    arguments = ("data", "show", "taskonomy", "--size", "32x32", "--data-root", str(tmp_path))
    assert "--set data.test_subset=all" in refused(*arguments)
    out = ("--out", str(tmp_path / "sheet.png"))
    assert call(*arguments, *out, "--set", "data.test_subset=all").returncode == 0


def test_a_sheet_shows_at_most_the_images_of_the_split(root: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    options = ("--size", "32x32", "--set", "data.test_subset=all", "--count", "64")
    done = call("data", "show", "taskonomy", *options, "--data-root", root, "--out", sheet)
    assert done.returncode == 0
    with Image.open(sheet) as picture:
        assert picture.height > 10 * 200, "all ten images"


def test_a_sheet_is_complete_or_missing(tmp_path: Path) -> None:
    root = nyud_files.write(tmp_path / "data" / "nyud")
    out = tmp_path / "out"
    out.mkdir()
    arguments = (
        "data",
        "show",
        "nyud",
        "--size",
        "32x48",
        "--data-root",
        str(tmp_path / "data"),
        "--out",
    )
    (tmp_path / "file").touch()
    message = refused(*arguments, str(tmp_path / "file" / "sheet.png"))
    assert "cannot be written" in message
    assert "--out" in message
    assert "fingerprinting" not in message, "refused before the data are read"
    taskonomy_files.cut(nyud_files.file_of(root, "0002_x", "images"))
    assert "truncated or damaged" in refused(*arguments, str(out / "sheet.png"))
    assert list(out.iterdir()) == []


def test_pairs_list_their_requirements_and_whether_these_are_met(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "nyud").mkdir()

    def listed(*arguments: str) -> dict[str, dict[str, Any]]:
        return {
            record["pair"]: record
            for record in json.loads(call("pairs", "list", "--json", *arguments).stdout)
        }

    here = listed("--data-root", str(root))
    assert {name: record["data"] for name, record in here.items()} == {
        "rooms:rooms-mix": "embedded",
        "taskonomy:nyud": "present",
        "taskonomy:pascal": "present",
        "nyud:taskonomy": "present",
        "pascal:taskonomy": "present",
    }
    assert here["pascal:taskonomy"]["label_space"] == "taskonomy_pascal_6"
    assert here["pascal:taskonomy"]["tasks"] == "semseg, normals, edge"
    assert (
        here["rooms:rooms-mix"]["label_space"]
        == here["nyud:taskonomy"]["label_space"]
        == "taskonomy_nyud_7"
    )
    some = listed("--data-root", str(tmp_path))
    assert some["taskonomy:nyud"]["data"] == "missing taskonomy/"
    assert some["taskonomy:pascal"]["data"] == "missing taskonomy/, pascal/"
    assert listed()["taskonomy:nyud"]["data"] == "missing taskonomy/, nyud/"


def test_the_listings_can_be_read_by_a_newcomer(root: Path) -> None:
    text = call("pairs", "list").stdout
    for words in (
        "source:target",
        "No data root",
        "TTT_BENCH_DATA",
        "rooms-night",
        "gaussian_noise",
        "s1 to s5",
    ):
        assert words in text
    text = call("data", "list", TTT_BENCH_DATA=str(root)).stdout
    for words in (f"Data root: {root}", "PASCAL-Context", "nyud_pascal_4", "potted plant"):
        assert words in " ".join(text.split())


def test_data_sets_as_records(root: Path) -> None:
    records = {
        r["name"]: r
        for r in json.loads(call("data", "list", "--json", "--data-root", str(root)).stdout)
    }
    assert records["pascal"]["label_spaces"] == [
        "taskonomy_pascal_6",
        "taskonomy_pascal_6_toilet",
        "nyud_pascal_4",
    ]
    assert records["rooms"]["data"] == "embedded"
    assert records["nyud"]["data"] == "present"
    assert {record["package"] for record in records.values()} == {"ttt-bench"}
