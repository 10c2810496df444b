from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from support.files.taskonomy_files import (
    DOMAINS,
    IN_STRING_ORDER,
    STEMS,
    file_of,
    folder_of,
    write,
    write_empty,
)
from support.notices import Notices

from ttt_bench.data.file_system import Contents
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.data.taskonomy.index import Folders, find_folders, list_frames
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

PARTS = {
    "rgb": "rgb",
    "semseg": "segment_semantic",
    "depth": "depth_zbuffer",
    "normals": "normal",
    "edge": "edge_occlusion",
}


def listed(root: Path) -> Any:
    folders = find_folders(root)
    return folders, list_frames(folders, folders.buildings, Silent())


@pytest.mark.parametrize("layout", "ABCDE")
def test_every_layout_gives_the_same_frames(tmp_path: Path, layout: str) -> None:
    buildings = ["ihlen"] if layout == "D" else ["ihlen", "hanson"]
    write(tmp_path, buildings, layout)
    folders, frames = listed(tmp_path)
    assert folders.layouts == (layout,)
    names = ["unnamed"] if layout == "D" else ["hanson", "ihlen"]
    assert [frames.name(i) for i in range(len(frames))] == [
        f"{b}/{s}" for b in names for s in IN_STRING_ORDER
    ]
    assert frames.tasks == ("semseg", "depth", "normals", "edge")
    for part, domain in PARTS.items():
        assert frames.path(2, part) == file_of(
            tmp_path, names[0], "point_10_view_0", domain, layout
        )
    assert frames.strays == (0, "")


def test_frames_below_data_are_found(tmp_path: Path) -> None:
    write(tmp_path / "data", ["ihlen"])
    (tmp_path / "data" / "splits_taskonomy").mkdir()
    folders, frames = listed(tmp_path)
    assert folders.root == tmp_path / "data"
    assert len(frames) == 4


def test_either_spelling_of_the_semantic_domain(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"])
    folder = folder_of(tmp_path, "A", "ihlen", "segment_semantic")
    one = folder / "point_0_view_0_domain_segmentsemantic.png"
    one.rename(folder / "point_0_view_0_domain_segment_semantic.png")
    (tmp_path / "segment_semantic").rename(tmp_path / "segmentsemantic")
    _, frames = listed(tmp_path)
    assert frames.has("semseg").all()
    assert frames.path(0, "semseg").name == "point_0_view_0_domain_segment_semantic.png"
    assert frames.path(1, "semseg").name == "point_0_view_1_domain_segmentsemantic.png"
    assert frames.path(0, "semseg").is_file()


def test_a_missing_file_shifts_no_pairing(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"])
    file_of(tmp_path, "ihlen", "point_0_view_1", "normal").unlink()
    _, frames = listed(tmp_path)
    assert frames.has("normals").tolist() == [True, False, True, True]
    for index in (0, 2, 3):
        stems = {frames.path(index, part).name.split("_domain")[0] for part in PARTS}
        assert stems == {IN_STRING_ORDER[index]}


def test_other_files_than_frames_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"])
    folder = folder_of(tmp_path, "A", "ihlen", "depth_zbuffer")
    for name in (
        ".DS_Store",
        "point_0_view_0_domain_depth_euclidean.png",
        "point_01_view_0_domain_depth_zbuffer.png",
    ):
        (folder / name).touch()
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "tmpabc123" / "rgb").mkdir(parents=True)
    (tmp_path / "rgb" / "taskonomy" / "tmpdef").mkdir()
    folders, frames = listed(tmp_path)
    assert len(frames) == 4
    assert frames.strays[0] == 3
    assert folders.buildings == ("ihlen",)
    assert {path.name for path in folders.leftovers} == {"tmpabc123", "tmpdef"}
    assert all("temporary folder of an interrupted" in notice for notice in folders.notices)


def test_two_layouts_are_both_read_with_a_notice(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"], "A", domains=DOMAINS[:3])
    write(tmp_path, ["ihlen"], "E", domains=DOMAINS[3:])
    folders, frames = listed(tmp_path)
    assert frames.tasks == ("semseg", "depth", "normals", "edge")
    assert any("several layouts (A, E)" in notice for notice in folders.notices)


def test_the_message_on_a_missing_root_names_it_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_folders(tmp_path / "nowhere")
    for words in (str(tmp_path / "nowhere"), "does not exist", "--data-root", "TTT_BENCH_DATA"):
        assert words in str(caught.value)


def test_the_message_on_an_unknown_layout_lists_the_present_and_the_known_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "normals" / "ihlen").mkdir(parents=True)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError) as caught:
        find_folders(tmp_path)
    for words in (
        "normals",
        "pictures",
        "did you mean normal?",
        "{domain}/taskonomy/{building}",
        "depth_zbuffer",
    ):
        assert words in str(caught.value)


def test_an_empty_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contains nothing"):
        find_folders(tmp_path)


def test_listing_is_compact_and_reports_progress(tmp_path: Path) -> None:
    write_empty(tmp_path, "hanson", [f"point_{p}_view_0" for p in range(300)])
    notices = Notices()
    frames = list_frames(find_folders(tmp_path), ["hanson"], notices)
    arrays = (frames.building, frames.point, frames.view, frames.have)
    assert sum(array.itemsize for array in arrays) <= 16
    assert notices.titles == ["listing Taskonomy's files"]


def test_memory_grows_by_a_few_bytes_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(folder: Path, title: str) -> Contents:
        suffix = {"segment_semantic": "segmentsemantic"}.get(folder.name, folder.name)
        stems = (f"point_{n}_view_{v}" for n in range(2000) for v in range(4))
        return Contents((), tuple(f"{stem}_domain_{suffix}.png" for stem in stems), ())

    def allocated(buildings: Any) -> Any:
        names = [f"house{number}" for number in range(buildings)]
        paths = {
            (name, part): (tmp_path / name / domain,)
            for name in names
            for part, domain in PARTS.items()
        }
        tracemalloc.start()
        frames = list_frames(
            Folders(root=tmp_path, layouts=("E",), paths=paths, leftovers=()), names, Silent()
        )
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(frames) == 8000 * buildings
        return held, peak

    monkeypatch.setattr("ttt_bench.data.taskonomy.index.contents_of", listed)
    allocated(1)  # what is made once
    (few, _), (many, peak) = allocated(1), allocated(3)
    assert (many - few) / 16_000 < 16
    # 300,000 frames in 100 MB at the worst moment
    assert peak / 24_000 < 333


def names_of(frames: Any) -> set[str]:
    return {frames.name(index) for index in range(len(frames))}


@pytest.mark.parametrize("other", "BCE")
def test_a_building_in_two_layouts_keeps_all_its_frames(tmp_path: Path, other: str) -> None:
    write(tmp_path, {"ihlen": STEMS[:2], "hanson": STEMS[:1]}, "A")
    write(tmp_path, {"ihlen": STEMS[2:], "muleshoe": STEMS[:2]}, other)
    folders, frames = listed(tmp_path)
    assert folders.layouts == ("A", other)
    assert any("several layouts" in notice for notice in folders.notices)
    expected = {f"ihlen/{stem}" for stem in STEMS}
    expected |= {"hanson/point_0_view_0", "muleshoe/point_0_view_0", "muleshoe/point_0_view_1"}
    assert names_of(frames) == expected
    for index in range(len(frames)):
        assert all(frames.path(index, part).is_file() for part in PARTS)
    assert frames.strays == frames.doubles == (0, "")


def test_a_file_in_two_layouts_is_read_from_the_first_and_named(tmp_path: Path) -> None:
    write(tmp_path, {"ihlen": STEMS}, "A")
    write(tmp_path, {"ihlen": STEMS[:1]}, "E", domains=["normal"])
    _, frames = listed(tmp_path)
    second = file_of(tmp_path, "ihlen", STEMS[0], "normal", "E")
    assert frames.doubles == (1, str(second))
    assert frames.path(0, "normals") == file_of(tmp_path, "ihlen", STEMS[0], "normal", "A")
    assert len(frames) == len(STEMS)


def test_one_building_without_a_name_next_to_named_ones(tmp_path: Path) -> None:
    write(tmp_path, {"x": STEMS[:1]}, "D")
    write(tmp_path, {"ihlen": STEMS}, "B")
    folders, frames = listed(tmp_path)
    assert folders.layouts == ("B", "D")
    assert names_of(frames) == {"unnamed/point_0_view_0", *(f"ihlen/{stem}" for stem in STEMS)}


@pytest.mark.parametrize("layout", "ABCDE")
def test_stray_folders_disturb_no_layout(tmp_path: Path, layout: str) -> None:
    write(tmp_path, ["ihlen"], layout)
    before, _ = listed(tmp_path)
    inside = [path for path in tmp_path.rglob("*") if path.is_dir()]
    pictures = list(tmp_path.rglob("*.png"))
    for folder in (tmp_path, *inside):
        for name in ("lost+found", "__MACOSX", "$RECYCLE.BIN", ".Trash-1000", "notes"):
            (folder / name).mkdir()
    for picture in pictures:
        (picture.parent / "@eaDir" / picture.name).mkdir(parents=True)
    after, frames = listed(tmp_path)
    assert (after.layouts, after.paths) == (before.layouts, before.paths)
    assert len(frames) == len(STEMS)
    assert frames.strays == (0, "")


def test_numbers_that_no_frame_has_are_no_frames(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"])
    folder = folder_of(tmp_path, "A", "ihlen", "rgb")
    for number in ("99999999999999999999", "4294967296", "\u0663", "-1"):
        (folder / f"point_{number}_view_0_domain_rgb.png").touch()
    _, frames = listed(tmp_path)
    assert len(frames) == 4
    assert frames.strays[0] == 4


def refusing(monkeypatch: pytest.MonkeyPatch, *denied: Path) -> None:
    """Make these folders unreadable, also for the superuser."""
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) in denied:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize(("folder", "layout"), [("attic", "A"), ("rgb/attic", "B"), ("attic", "E")])
def test_an_unreadable_folder_of_another_name_is_passed_over_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, layout: str
) -> None:
    write(tmp_path, ["ihlen"], layout)
    (tmp_path / folder).mkdir()
    refusing(monkeypatch, tmp_path / folder)
    folders, frames = listed(tmp_path)
    assert len(frames) == 4
    (notice,) = folders.notices
    assert f"{tmp_path / folder} cannot be read (Permission denied)" in notice
    assert notice.endswith("passed over")


@pytest.mark.parametrize("layout", "ABCE")
def test_an_unreadable_folder_of_a_known_name_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    write(tmp_path, ["ihlen"], layout)
    folder = folder_of(tmp_path, layout, "ihlen", "normal")
    refusing(monkeypatch, folder)
    with pytest.raises(DataError, match=rf"{folder} cannot be read \(Permission denied\); check"):
        listed(tmp_path)


def test_a_building_whose_name_is_not_utf8_has_a_printable_name(tmp_path: Path) -> None:
    write(tmp_path, ["r\udce4ume"])
    _, frames = listed(tmp_path)
    assert frames.name(0) == "r\\udce4ume/point_0_view_0"
    assert frames.path(0, "rgb").is_file()
    data = Taskonomy.open(tmp_path, "test", (32, 32), Silent())
    data.prepare(Silent())
    assert data.batch([0]).images.shape == (1, 3, 32, 32)
    file_of(tmp_path, "r\udce4ume", STEMS[0], "rgb").write_bytes(b"x")
    with pytest.raises(DataError, match=r"r\\udce4ume.*not a PNG or JPEG image") as caught:
        Taskonomy.open(tmp_path, "test", (32, 32), Silent()).prepare(Silent())
    str(caught.value).encode()
