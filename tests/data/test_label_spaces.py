from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace, find_label_space, label_space_from
from ttt_bench.data.pair import find_pair
from ttt_bench.errors import BenchError


def test_the_seven_classes_and_their_native_ids() -> None:
    space = find_label_space("taskonomy_nyud_7")
    assert space.classes == ("refrigerator", "table", "toilet", "sofa", "bed", "sink", "chair")
    table = space.table("taskonomy")
    assert {native: int(table[native]) for native in (14, 7, 8, 4, 6, 13, 3)} == {
        14: 0, 7: 1, 8: 2, 4: 3, 6: 4, 13: 5, 3: 6
    }  # fmt: skip
    assert (table != 255).sum() == 7
    assert table[0] == table[1] == table[9] == 255  # uncertain, background, tv
    assert list(space.table("rooms")[:8]) == [0, 1, 2, 3, 4, 5, 6, 255]
    assert space.table("nyud")[[24, 7, 33, 6, 4, 34, 5]].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_several_native_ids_may_fold_into_one_class() -> None:
    space = LabelSpace(name="mine", classes=("seat", "bed"), native={"taskonomy": ((3, 4), (6,))})
    assert space.table("taskonomy")[[3, 4, 6, 7]].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize(
    ("native", "words"),
    [
        (((3,),), "1 entries for 2"),
        (((3,), (3,)), "given twice"),
        (((3,), (18,)), "not in 0..17"),
        (((), ()), "no class has"),
    ],
)
def test_a_table_that_cannot_be_is_refused(native: Any, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        LabelSpace(name="mine", classes=("seat", "bed"), native={"taskonomy": native})
    assert "mine" in str(caught.value)


def test_the_six_classes_and_their_native_ids() -> None:
    space = find_label_space("taskonomy_pascal_6")
    assert space.classes == ("table", "tv", "bottle", "sofa", "potted plant", "chair")
    assert space.table("taskonomy")[[7, 9, 2, 4, 5, 3]].tolist() == [0, 1, 2, 3, 4, 5]
    assert space.table("pascal")[[11, 20, 5, 18, 16, 9]].tolist() == [0, 1, 2, 3, 4, 5]
    assert space.table("pascal")[[0, 255]].tolist() == [255, 255]
    assert "toilet" in space.footnote
    assert "bottle" in space.footnote


def test_true_toilets_are_context_labels() -> None:
    space = find_label_space("taskonomy_pascal_6_toilet")
    context = space.table("pascal_context")
    assert context.shape == (460,)
    assert (context[408], (context != 255).sum()) == (2, 1)
    assert space.classes[2] == "toilet"
    assert space.table("taskonomy")[[8, 2]].tolist() == [2, 255]
    assert space.table("pascal")[[5, 9]].tolist() == [255, 5]
    assert "not comparable" in space.footnote


def test_the_four_classes_of_nyud_and_pascal() -> None:
    space = find_label_space("nyud_pascal_4")
    assert space.classes == ("person", "sofa", "chair", "table")
    assert (
        space.table("nyud")[[31, 6, 5, 7]].tolist()
        == space.table("pascal")[[15, 18, 9, 11]].tolist()
        == [0, 1, 2, 3]
    )


def test_records_distinguish_spaces_and_name_every_id() -> None:
    records = [space.record() for space in LABEL_SPACES.values()]
    assert len({str(record) for record in records}) == len(LABEL_SPACES)
    assert records[0]["native"]["nyud"] == [[24], [7], [33], [6], [4], [34], [5]]


def test_a_space_of_ones_own_from_a_config_table() -> None:
    table = {
        "classes": ["seat", "bed"],
        "taskonomy": [[3, 4], 6],
        "nyud": [[5, 6], [4]],
        "footnote": "Mine.",
    }
    space = label_space_from("mine", table)
    assert space == LabelSpace(
        name="mine",
        classes=("seat", "bed"),
        native={"taskonomy": ((3, 4), (6,)), "nyud": ((5, 6), (4,))},
        footnote="Mine.",
    )


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("taskonomy_nyud_7", {"classes": ["a"], "nyud": [1]}, "is part of the harness"),
        ("mine", ["a"], "is not a table"),
        ("mine", {"nyud": [1]}, "classes must be a list of names, got None"),
        ("mine", {"classes": "seat", "nyud": [1]}, "classes must be a list of names"),
        ("mine", {"classes": ["seat", 3], "nyud": [1, 2]}, "classes must be a list of names"),
        ("mine", {"classes": [], "nyud": []}, "0 classes"),
        ("mine", {"classes": ["a"], "nyud": [1]}, "1 classes; give 2 to 254"),
        ("mine", {"classes": ["a", "a"], "nyud": [1, 2]}, "class a is given twice"),
        ("mine", {"classes": ["a", "b"]}, "no data set"),
        ("mine", {"classes": ["a", "b"], "nyud": 3}, "data set nyud: 3 is not a list"),
        ("mine", {"classes": ["a", "b"], "nyud": ["chair", 1]}, "'chair' is not a native id"),
        ("mine", {"classes": ["a", "b"], "nyud": [[True], 1]}, "True is not a native id"),
        ("mine", {"classes": ["a", "b"], "nyud": [41, 1]}, "native id 41 is not in 0..40"),
        ("mine", {"classes": ["a", "b"], "pascal": [255, 1]}, "native id 255 is not in 0..20"),
        ("mine", {"classes": ["a", "b"], "nyud": [1]}, "1 entries for 2 classes"),
        ("mine", {"classes": ["a", "b"], "nyud": [1, 2], "footnote": 3}, "footnote must be a text"),
    ],
)
def test_a_table_of_ones_own_that_cannot_be(name: str, table: object, words: str) -> None:
    with pytest.raises(BenchError) as caught:
        label_space_from(name, table)
    assert name in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("pair", ["nyud:taskonomy", "taskonomy:nyud", "nyud:nyud"])
def test_ids_of_one_class_alone_in_a_domain_are_refused(pair: str) -> None:
    own = {
        "mine": LabelSpace(
            name="mine",
            classes=("seat", "bed"),
            native={"nyud": ((5, 6), ()), "taskonomy": ((3,), (6,))},
        )
    }
    with pytest.raises(BenchError, match=r"data set nyud has ids of one class only \(seat\)"):
        find_pair(pair).label_space("mine", own)
    assert find_pair("taskonomy:taskonomy").label_space("mine", own) is not None


def test_the_second_table_of_a_data_set_counts() -> None:
    own = {
        "mine": LabelSpace(
            name="mine",
            classes=("table", "toilet"),
            native={"pascal": ((11,), ()), "pascal_context": ((), (408,))},
        )
    }
    assert find_pair("pascal:pascal").label_space("mine", own) is not None


def test_unknown_names() -> None:
    with pytest.raises(BenchError, match="taskonomy_nyud_7"):
        find_label_space("taskonomy_nyud")
    with pytest.raises(BenchError, match="pascal"):
        find_label_space("taskonomy_nyud_7").table("pascal")


TORCH_FREE = (
    "data.label_spaces",
    "data.domains",
    "data.splits",
    "data.taskonomy.selection",
    "metrics.colours",
    "data.variants",
    "data.images.augment_sample",
    "data.nyud.index",
    "data.nyud.decode",
    "data.pascal.decode",
    "data.pascal.edges",
)


def test_names_and_splits_need_no_torch() -> None:
    modules = ", ".join(f"ttt_bench.{name}" for name in TORCH_FREE)
    code = f"import sys; import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
