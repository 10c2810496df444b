"""The declaration of a study in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttt_bench.designs.declared_studies import STUDIES, declared, find_studies, find_study
from ttt_bench.designs.study import read_study
from ttt_bench.errors import BenchError
from ttt_bench.results.published import for_pair
from ttt_bench.results.published.numbers import printed

AXIS = """
title = "Masking ratio"
methods = ["s4t"]
show = ["table", "curve"]
[axis]
name = "ratio"
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_axis_gives_one_arm_per_value(tmp_path: Path) -> None:
    text = f'{AXIS}setting = "s4t.mask_ratio"\nvalues = [0.25, 0.5]\n'
    study = read_study(_written(tmp_path, text))
    assert study.name == "own"
    assert [(arm.label, arm.value, arm.set, arm.shift) for arm in study.all_arms] == [
        ("ratio 0.25", 0.25, {"s4t.mask_ratio": 0.25}, ""),
        ("ratio 0.5", 0.5, {"s4t.mask_ratio": 0.5}, ""),
    ]
    assert [study.methods_of(arm) for arm in study.all_arms] == [("base", "s4t")] * 2


def test_no_shift_at_the_value_zero(tmp_path: Path) -> None:
    text = f'{AXIS}shift = "gaussian_noise@{{}}"\nvalues = [0, 0.05]\n'
    study = read_study(_written(tmp_path, text))
    assert [arm.shift for arm in study.all_arms] == ["", "gaussian_noise@0.05"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'a'", "titel: unknown setting 'titel'; did you mean title?"),
        ("methods = ['s4t']", "title: Field required"),
        ("title = 'a'\nshow = ['tabel']", "show: unknown view 'tabel'; did you mean table?"),
        ("title = 'a'\nshow = ['curve']", "show: curve and losses need an axis"),
        (f"{AXIS}values = [1]", "give either a setting or a shift"),
        (f"{AXIS}setting = 's4t.mask_ratio'\nvalues = []", "values: give at least one value"),
        (f"{AXIS}setting = 's4t.mask_ratio'\nvalues = [1, 1]", "a value is given twice"),
        (f"{AXIS}shift = 'fog@s3'\nvalues = [1]", "the shift must contain {} in place of"),
        ("title = 'a'\n[[arms]]\nlabel = 'x'\n[[arms]]\nlabel = 'x'", "two arms have one label"),
        ("title = ", "not valid TOML"),
        (
            "title = 'a'\n[[arms]]\nlabel = 'x'\nsets = 1",
            "unknown setting 'sets'; did you mean set, presets, methods?",
        ),
        (f"{AXIS}settings = 'a.b'", "unknown setting 'settings'; did you mean setting?"),
        ("title = 'a'\ncontrols = ['frozn']", "unknown control 'frozn'; did you mean frozen?"),
    ],
)
def test_an_invalid_file_is_refused_by_its_entry(tmp_path: Path, text: str, message: str) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(BenchError) as refused:
        find_study(str(path))
    assert message in str(refused.value)
    assert "own.toml" in str(refused.value)


def test_a_misspelt_study_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BenchError, match="did you mean masking"):
        find_study("maskin")
    with pytest.raises(BenchError, match=r"missing\.toml"):
        find_study("missing.toml")


def test_all_means_every_study_once() -> None:
    assert tuple(study.name for study in find_studies(("noise", "all"))) == (
        "noise",
        *(name for name in STUDIES if name != "noise"),
    )


def test_the_studies_answer_every_table_of_the_papers() -> None:
    frame = printed()
    tables = {
        f"{paper}, {table}" for paper, table in zip(frame["paper"], frame["table"], strict=True)
    }
    answered = {answer for name in STUDIES for answer in declared(name).answers}
    # a number that TR-TTT's text states of the noise
    assert tables - answered == {"TR-TTT, Section 4.1"}


@pytest.mark.parametrize("name", ["components", "masking", "single-task"])
def test_arms_have_the_settings_of_published_rows(name: str) -> None:
    table = for_pair("taskonomy:nyud")
    assert table is not None
    published = {row.settings for row in table.rows if row.source in declared(name).answers}
    own = set()
    for arm in declared(name).arms:
        texts = [f"{key.removeprefix('s4t.')}={value}" for key, value in sorted(arm.set.items())]
        own.add("; ".join(texts))
    assert published - {""} <= own


def test_a_file_with_any_name_gives_a_name_for_folders(tmp_path: Path) -> None:
    path = tmp_path / "My Study (2).toml"
    path.write_text('title = "a"', encoding="utf-8")
    assert read_study(path).name == "my-study-2"


def test_names_of_studies_are_unique(tmp_path: Path) -> None:
    files = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for path in files:
        path.write_text('title = "a"\nname = "same"', encoding="utf-8")
    with pytest.raises(BenchError, match="same: several files declare a study of this name"):
        find_studies(tuple(map(str, files)))
    files[0].write_text('title = "a"\nname = "noise"', encoding="utf-8")
    with pytest.raises(BenchError, match="'noise' is the name of a study of the package"):
        find_study(str(files[0]))
