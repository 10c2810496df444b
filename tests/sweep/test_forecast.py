"""How long a planned sweep takes: predictions worked by hand, and what a plan counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs import LINE, interrupt, plan, run

from ttt_bench.results import store
from ttt_bench.results.timed_work import TIMED, TimedWork, Work, read_times, write_time
from ttt_bench.sweep.forecast.predict import Forecast, forecast, predict
from ttt_bench.sweep.forecast.summary import PlanSummary, summarise
from ttt_bench.sweep.forecast.work import SCORING, adapting_units
from ttt_bench.util import tensor_file
from ttt_bench.util.text import format_seconds

HERE = "here"


def work(method: str = "tent", units: float = 100.0, size: int = 64, **likes: Any) -> Work:
    return Work(kind=f"adapting with {method}", needs={"size": size}, likes=likes, units=units)


def timed(done: Work, seconds: float, day: int = 1, host: str = HERE, **more: Any) -> TimedWork:
    finished = f"2026-01-{day:02}T00:00:00+00:00"
    return TimedWork(work=done, seconds=seconds, host=host, finished=finished, **more)


def test_measured_work_takes_the_time_that_it_took() -> None:
    done = [timed(work(method), 10.0 + n, fixed=2.0) for n, method in enumerate("abc")]
    found = [predict(one.work, done, HERE).seconds for one in done]
    assert found == [12.0, 13.0, 14.0]


def test_the_part_that_is_not_fixed_is_proportional_to_the_work() -> None:
    done = [timed(work(units=100.0), 30.0, fixed=4.0)]
    assert predict(work(units=250.0), done, HERE).seconds == pytest.approx(4.0 + 75.0)


def test_the_median_of_the_newest_five_counts() -> None:
    seconds = [900.0, 800.0, 10.0, 20.0, 70.0, 30.0, 40.0]  # the first two are too old
    done = [timed(work(), took, day=day) for day, took in enumerate(seconds, start=1)]
    assert predict(work(), done[::-1], HERE).seconds == 30.0


def test_other_methods_sizes_and_devices_predict_nothing() -> None:
    done = [timed(work("s4t"), 10.0), timed(work(size=128), 10.0)]
    assert predict(work(), done, HERE).seconds is None


def test_this_machine_then_more_equal_conditions_then_the_nearest_work_are_preferred() -> None:
    wanted = work(protocol="online", steps=10)
    done = [
        timed(work(protocol="online", steps=10), 1.0, host="there"),
        timed(work(protocol="episodic", steps=10), 2.0),
        timed(work(protocol="online", steps=5, units=50.0), 3.0),
        timed(work(protocol="online", steps=1, units=10.0), 4.0),
    ]
    for left, seconds in ((4, 6.0), (2, 2.0), (1, 1.0)):
        assert predict(wanted, done[:left], HERE).seconds == seconds


def test_units_are_updates_and_scored_images() -> None:
    shape = {"images": 20, "first": 8}
    assert adapting_units(**shape, steps=3, single=False) == 60 + SCORING * 80
    assert adapting_units(**shape, steps=3, single=True) == 24 + SCORING * 80
    assert adapting_units(**shape, steps=0, single=True) == SCORING * 20


def summary(found: Forecast, finished: int = 2, trainings: int = 0) -> str:
    done = {f"finished {number}": "done" for number in range(finished)}
    return PlanSummary(
        states={**done, **dict.fromkeys(found.predictions, "missing")},
        trainings=trainings,
        forecast=found,
        results="results/run",
    ).sentence()


def test_a_plan_sums_what_is_known_and_names_what_is_not() -> None:
    done = [timed(work(), 60.0), timed(work("norm"), 30.0)]
    found = forecast({"a": [work("norm"), work()], "b": [work(), work("s4t")]}, done, HERE)
    assert [found.seconds(name) for name in ("a", "b", "finished")] == [90.0, None, None]
    assert summary(found, trainings=1) == (
        "4 cells: 2 finished, 2 to compute; 1 source training; about 2.5 min on this device "
        "(predicted from 2 measured times), without what is not measured yet: "
        "adapting with s4t (1 time)"
    )


def test_a_plan_says_that_nothing_was_measured() -> None:
    found = forecast({"a": [work()]}, [], HERE)
    assert found.seconds("a") is None
    assert "the time is unknown" in summary(found)
    assert "run one seed first" in summary(found)


def test_a_finished_plan_says_nothing_of_time_and_another_machine_is_named() -> None:
    assert summary(forecast({}, [timed(work(), 1.0)], HERE)) == "2 cells: 2 finished, 0 to compute"
    elsewhere = forecast({"a": [work()]}, [timed(work(), 1.0, host="there")], HERE)
    assert "on a machine like the measured one" in summary(elsewhere)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.42 s"), (89.6, "90 s"), (150, "2.5 min"), (840, "14 min"), (4e5, "4.6 days")],
)
def test_durations_have_a_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_cell_stores_the_seconds_of_its_parts_and_the_plan_reads_them(swept: Path) -> None:
    times = read_times(swept)
    # shared, base's and s4t's training, the methods' cells
    assert len([one for one in times if one.work.kind.startswith("training")]) == 3
    for folder, manifest in store.cells(swept):
        attempt = store.read_attempts(folder)["attempts"][-1]
        one = TimedWork.model_validate(attempt[TIMED])
        assert one.work.kind == f"adapting with {manifest['method']}"
        assert 0 < one.seconds + one.fixed < attempt["seconds"]
    sweep = plan(swept, methods=LINE, protocol="online", seeds="0,1")
    found = summarise(sweep)
    assert found.trainings == 3, "shared by base, norm and tent; s4t has its own"
    assert found.sentence().startswith("8 cells: 4 finished, 4 to compute; 3 source trainings; ")
    assert not found.forecast.unknown
    for cell in sweep.cells:
        assert (found.seconds(cell.hash) is None) == (cell.seed == 0)
    (tent,) = (one for one in times if one.work == _adapting(found, "tent", sweep))
    prediction = _prediction(found, "tent", sweep)
    assert prediction == pytest.approx(tent.seconds + tent.fixed)


def _cell_hash(sweep: Any, method: str) -> str:
    (cell,) = (one for one in sweep.cells if (one.method, one.seed) == (method, 1))
    return str(cell.hash)


def _adapting(found: PlanSummary, method: str, sweep: Any) -> Work:
    return found.forecast.predictions[_cell_hash(sweep, method)][-1].work


def _prediction(found: PlanSummary, method: str, sweep: Any) -> float | None:
    return found.forecast.predictions[_cell_hash(sweep, method)][-1].seconds


def test_unreadable_times_are_left_out(tmp_path: Path) -> None:
    write_time(tmp_path / "checkpoints" / "a.safetensors", timed(work(), 1.0))
    for name, text in (("b", "{"), ("c", json.dumps({"seconds": 1}))):
        (tmp_path / "checkpoints" / f"{name}.times.json").write_text(text)
    assert read_times(tmp_path) == [timed(work(), 1.0)]


def test_seconds_of_all_attempts_at_a_cell_add_up(tmp_path: Path) -> None:
    interrupt(tmp_path, methods="base")
    (partial,) = (tmp_path / "cells").rglob("*.partial.safetensors")
    state, about = tensor_file.load(partial)
    assert 0 < about["seconds"] < 1000
    tensor_file.save(partial, state, {**about, "seconds": 1000.0})
    run(tmp_path, methods="base")
    (cell,) = (one for one in read_times(tmp_path) if one.work.kind == "adapting with base")
    assert 1000 < cell.seconds < 2000
