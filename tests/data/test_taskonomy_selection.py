from __future__ import annotations

from pathlib import Path

import pytest
from support.files.taskonomy_files import DOMAINS, IN_STRING_ORDER, file_of, write, write_empty
from support.notices import Notices

from ttt_bench.data.images.files import spread
from ttt_bench.data.taskonomy.index import find_folders
from ttt_bench.data.taskonomy.selection import fingerprint, first_tenth, select
from ttt_bench.data.taskonomy.splits import TINY, wanted
from ttt_bench.errors import BenchError, DataError
from ttt_bench.util.progress import Progress, Silent

FORTY = [f"point_{p}_view_{v}" for p in range(20) for v in range(2)]


def names(
    root: Path, split: str, subset: str = "first_tenth", progress: Progress | None = None
) -> list[str]:
    frames, notices = select(find_folders(root), split, subset, Silent())
    for notice in notices:
        (progress or Silent()).notice(notice)
    return [frames.name(index) for index in range(len(frames))]


@pytest.fixture
def tests_only(tmp_path: Path) -> Path:
    write_empty(tmp_path, "noxapater", FORTY[:20])
    write_empty(tmp_path, "ihlen", FORTY[20:])
    return tmp_path


def test_the_tiny_split() -> None:
    assert [len(TINY[split]) for split in ("train", "val", "test")] == [25, 5, 5]
    assert TINY["test"] == ("ihlen", "muleshoe", "uvalda", "noxapater", "mcdade")
    assert len(wanted("train")) == 28
    assert not {"woodbine", "wiconisco"} & {*wanted("train"), *wanted("val")}
    assert not set(wanted("train")) & set(wanted("test"))


def test_first_tenth_of_forty_stems_is_the_first_four_in_string_order(tmp_path: Path) -> None:
    write_empty(tmp_path, "ihlen", FORTY)
    assert names(tmp_path, "test") == [f"ihlen/{stem}" for stem in sorted(FORTY)[:4]]


def test_buildings_come_in_the_order_of_the_published_file(tests_only: Path) -> None:
    everything = names(tests_only, "test", "all")
    assert [name.split("/")[0] for name in everything] == ["ihlen"] * 20 + ["noxapater"] * 20
    assert names(tests_only, "test") == everything[:4]
    assert names(tests_only, "tune") == everything[-4:]
    assert names(tests_only, "test", "stride10") == everything[::10]
    assert names(tests_only, "tune", "stride10") == everything[5::10]


def test_tuning_never_sees_a_test_image(tests_only: Path) -> None:
    for subset in ("first_tenth", "stride10"):
        assert not set(names(tests_only, "test", subset)) & set(names(tests_only, "tune", subset))
    with pytest.raises(BenchError, match="no frame is left for split tune"):
        names(tests_only, "tune", "all")


def test_the_published_tenth_needs_only_its_one_building() -> None:
    whole = {"ihlen": 9007, "muleshoe": 12072, "uvalda": 14147, "noxapater": 4436, "mcdade": 14852}
    assert first_tenth(whole) == 5451
    assert sum(whole.values()) // 10 == 5451
    assert first_tenth({"ihlen": 9007}) == 5451
    assert first_tenth({"ihlen": 9006}) == 5451, "a deleted frame leaves the published number"
    assert first_tenth({"ihlen": 5450}) == 545
    assert first_tenth({"noxapater": 4436}) == 443


def test_held_out_source_frames_are_not_trained_on(tmp_path: Path) -> None:
    write_empty(tmp_path, "hanson", FORTY)
    stems = [f"point_{p}_view_0" for p in range(150)]
    write_empty(tmp_path, "corozal", stems)
    train, val = names(tmp_path, "train"), names(tmp_path, "val")
    assert len(train) == 188
    assert val == [f"corozal/{sorted(stems)[at]}" for at in (0, 100)]
    assert not set(train) & set(val)
    assert {name.split("/")[0] for name in train} == {"hanson", "corozal"}


def test_excluded_buildings_are_left_out_and_explained(tmp_path: Path) -> None:
    for building in ("hanson", "woodbine", "wiconisco"):
        write_empty(tmp_path, building, FORTY[:3])
    notices = Notices()
    assert {name.split("/")[0] for name in names(tmp_path, "train", progress=notices)} == {"hanson"}
    assert notices.heard("woodbine is excluded by the downloader", "Nothing to do")
    assert notices.heard("wiconisco is left out by default", "official code")
    assert notices.heard("the buildings", "merom", "are missing")


def test_a_frame_that_is_damaged_upstream_is_left_out(tmp_path: Path) -> None:
    write_empty(tmp_path, "muleshoe", ["point_399_view_4", "point_399_view_5", *FORTY])
    notices = Notices()
    chosen = names(tmp_path, "test", "all", notices)
    assert len(chosen) == 41
    assert "muleshoe/point_399_view_5" not in chosen
    assert notices.heard("1 frame unreadable upstream", "muleshoe/point_399_view_5")


def test_a_frame_without_a_domain_is_left_out_with_a_count_and_an_example(tmp_path: Path) -> None:
    write_empty(tmp_path, "ihlen", FORTY)
    for stem in FORTY[3:5]:
        file_of(tmp_path, "ihlen", stem, "normal").unlink()
    (tmp_path / "normal" / "taskonomy" / "ihlen" / ".DS_Store").touch()
    notices = Notices()
    chosen = names(tmp_path, "test", "all", notices)
    assert len(chosen) == 38
    assert notices.heard("left out 2 of 40 frames that have no normals", "ihlen/point_1_view_1")
    assert notices.heard("ignored 1 files", ".DS_Store")


def test_a_root_without_known_buildings_uses_all_its_frames(tmp_path: Path) -> None:
    write_empty(tmp_path, "mine", IN_STRING_ORDER)
    notices = Notices()
    assert names(tmp_path, "test", progress=notices) == [f"mine/{stem}" for stem in IN_STRING_ORDER]
    assert names(tmp_path, "train") == names(tmp_path, "test")
    assert notices.heard("none of the known buildings", "all its 4 frames are used as test")


def test_known_buildings_of_other_splits_only_is_an_error(tmp_path: Path) -> None:
    write_empty(tmp_path, "hanson", FORTY)
    with pytest.raises(DataError) as caught:
        names(tmp_path, "test")
    for words in (
        "split test",
        "ihlen, muleshoe, uvalda, noxapater, mcdade",
        "only hanson",
        "download",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("split", ["test", "tune"])
def test_an_empty_selection_is_an_error(tmp_path: Path, split: str) -> None:
    write_empty(tmp_path, "ihlen", FORTY[:9])
    with pytest.raises(DataError, match=r"is empty.* 9 complete frames of ihlen"):
        names(tmp_path, split)


def test_missing_complete_frames_and_missing_targets_are_errors(tmp_path: Path) -> None:
    write_empty(tmp_path / "a", "ihlen", FORTY[:10], ["rgb"])
    write_empty(tmp_path / "a", "ihlen", FORTY[10:20], ["normal"])
    with pytest.raises(DataError, match="not one of 20 frames has all of rgb, normals"):
        names(tmp_path / "a", "test")
    write_empty(tmp_path / "b", "ihlen", FORTY, ["rgb"])
    with pytest.raises(DataError, match=r"images but no targets.*segment_semantic"):
        names(tmp_path / "b", "test")


def test_names_of_splits_and_subsets(tests_only: Path) -> None:
    with pytest.raises(BenchError, match="did you mean test"):
        names(tests_only, "tests")
    with pytest.raises(BenchError, match="did you mean first_tenth"):
        names(tests_only, "test", "first_tent")


def test_the_fingerprint_follows_content_and_not_layout(tmp_path: Path) -> None:
    marks = set()
    for layout in "ABCE":
        frames = select(
            find_folders(write(tmp_path / layout, ["ihlen"], layout)), "test", "all", Silent()
        ).frames
        marks.add(fingerprint(frames, frames.tasks, Silent()))
    assert len(marks) == 1
    changed = file_of(tmp_path / "A", "ihlen", "point_2_view_0", DOMAINS[1])
    content = bytearray(changed.read_bytes())
    content[-20] ^= 1  # the same size
    changed.write_bytes(content)
    frames = select(find_folders(tmp_path / "A"), "test", "all", Silent()).frames
    assert fingerprint(frames, frames.tasks, Silent()) not in marks
    fewer = frames.select([0, 1])
    assert fingerprint(fewer, frames.tasks, Silent()) != fingerprint(frames, frames.tasks, Silent())


def test_spread_is_even_and_within_range() -> None:
    assert spread(3, 5) == [0, 1, 2]
    assert spread(1000, 4) == [0, 250, 500, 750]
