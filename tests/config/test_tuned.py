"""The file of `ttt-bench tune`: written, read, and compared with a run."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ttt_bench.config.preset import resolve_preset
from ttt_bench.config.toml_text import toml_text
from ttt_bench.config.tuned import (
    Conditions,
    Record,
    Trial,
    Tuned,
    TunedMethod,
    conditions_of,
    read_tuned,
    tuned_problems,
)
from ttt_bench.designs.rates import RULE
from ttt_bench.errors import BenchError


def conditions(**changed: Any) -> Conditions:
    given = {"source": "rooms", "protocol": "online", "preset_name": "smoke", "weights": None}
    return conditions_of(**{**given, "preset": resolve_preset("smoke", {}), **changed})


def tuned() -> Tuned:
    return Tuned(
        record=Record(
            pair="rooms:rooms+brightness@s2",
            split="val",
            images=9,
            seed=0,
            trials=2,
            rule='the "best"',
            version="0",
            settings="s4t.path=C:\\x",
        ),
        conditions=conditions(),
        methods={
            "tent": TunedMethod(
                lr=1e-7,
                default_lr=1e-3,
                steps=3,
                optimiser={"optimiser": "adam", "nesterov": False, "momentum": 0.0},
                trials=(
                    Trial(lr=1e-7, state="done", delta_ttt=12.25, config="a"),
                    Trial(lr=1e-3, state="diverged", config="b"),
                ),
            )
        },
    )


@pytest.mark.parametrize(("rule", "rate"), [('the "best"', 7.0), (RULE, 1e-3)])
def test_a_rate_that_the_trials_do_not_give_is_refused(
    rule: str, rate: float, tmp_path: Path
) -> None:
    before = tuned()
    method = before.methods["tent"].model_copy(update={"lr": rate})
    record = before.record.model_copy(update={"rule": rule})
    path = tmp_path / "tuned.toml"
    changed = before.model_copy(update={"record": record, "methods": {"tent": method}})
    path.write_text(changed.text(), encoding="utf-8")
    with pytest.raises(BenchError, match="tent: the trials do not give the learning rate"):
        read_tuned(path)


def test_a_written_file_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text(tuned().text(), encoding="utf-8")
    found = read_tuned(path)
    assert found.tuned == tuned()
    assert found.optimiser("tent") == {
        "optimiser": "adam",
        "nesterov": False,
        "momentum": 0.0,
        "lr": 1e-7,
    }
    assert found.optimiser("norm") == {}
    assert found.origin()["trials"] == 2


def test_tables_are_written_as_toml() -> None:
    table = {
        "text": 'a "b" \\ \n ü',
        "rate": 1e-10,
        "on": True,
        "none": None,
        "list": [1, 2],
        "inner": {"a.b": {"x": 1}, "rows": [{"lr": 0.1, "note": None}, {"lr": 2}]},
    }
    expected = {k: v for k, v in table.items() if k != "none"}
    expected["inner"] = {"a.b": {"x": 1}, "rows": [{"lr": 0.1}, {"lr": 2}]}
    assert tomllib.loads(toml_text(table)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = ", "not valid TOML"),
        ("[methods.tent]\nlr = -1", "methods.tent.lr"),
        ("[record]\nimages = 'many'", "record.images"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BenchError, match="--tuned") as error:
        read_tuned(path)
    assert message in str(error.value)


def test_a_run_that_differs_is_refused_with_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "tuned.toml"
    path.write_text(tuned().text(), encoding="utf-8")
    file = read_tuned(path)
    assert tuned_problems(file, conditions(), [("tent", 3)]) == []
    other = resolve_preset("smoke", {"model.backbone": "resnet18"})
    for changed, part in (
        ({"preset": other}, "model hypercolumn on test_resnet"),
        ({"preset_name": "quick"}, "preset smoke, but the run has quick"),
        ({"protocol": "episodic"}, "protocol online, but the run has episodic"),
        ({"source": "nyud"}, "source rooms, but the run has nyud"),
        ({"weights": "ab12"}, "weights none, but the run has ab12"),
    ):
        (problem,) = tuned_problems(file, conditions(**changed), [("tent", 3)])
        assert part in problem
    (problem,) = tuned_problems(file, conditions(), [("tent", 10)])
    assert "tent was tuned with --steps 3, but the run has 10" in problem
    (problem,) = tuned_problems(file, conditions(), [("tent", 3), ("s4t", 3)])
    assert "has no entry for s4t; add s4t to the --methods of `ttt-bench tune`" in problem
