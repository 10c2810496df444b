import subprocess
import sys

import pytest

from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.errors import BenchError


def test_the_seven_classes_and_their_native_ids():
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


def test_several_native_ids_may_fold_into_one_class():
    space = LabelSpace("mine", ("seat", "bed"), {"taskonomy": ((3, 4), (6,))})
    assert space.table("taskonomy")[[3, 4, 6, 7]].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize(
    ("native", "words"),
    [(((3,),), "1 entries for 2"), (((3,), (3,)), "given twice"), (((3,), (256,)), "not in 0..255")],
)
def test_a_table_that_cannot_be_is_refused(native, words):
    with pytest.raises(BenchError, match=words) as caught:
        LabelSpace("mine", ("seat", "bed"), {"taskonomy": native})
    assert "mine" in str(caught.value)


def test_unknown_names():
    with pytest.raises(BenchError, match="taskonomy_nyud_7"):
        find_label_space("taskonomy_nyud")
    with pytest.raises(BenchError, match="pascal"):
        find_label_space("taskonomy_nyud_7").table("pascal")


def test_names_and_splits_need_no_torch():
    modules = "ttt_bench.data.label_spaces, ttt_bench.data.taskonomy.selection, ttt_bench.colours"
    code = f"import sys; import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
