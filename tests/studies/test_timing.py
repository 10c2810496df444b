"""Inference times: the stopwatch, the phases, FLOPs, and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.command import call, refused

from ttt_bench.config.request import Request
from ttt_bench.results import measurements
from ttt_bench.results.published import published_seconds
from ttt_bench.results.timings import KIND, NSTEPS, PREDICT, RESET, STEP
from ttt_bench.studies.timing.run import phases, plan_timings
from ttt_bench.studies.timing.stopwatch import LEAST, MOST, WARM_UP, measure, summary
from ttt_bench.studies.timing.subject import make_subject

SMOKE = Request(preset="smoke", device="cpu", methods=("actmad",))


def _clock(seconds: list[float]) -> Callable[[Callable[[], object]], float]:
    """Return a clock that shows these times one after the other, and then the last one."""
    left = list(seconds)

    def clock(function: Callable[[], object]) -> float:
        function()
        return left.pop(0) if len(left) > 1 else left[0]

    return clock


def test_quartiles_of_five_times_are_the_second_and_fourth() -> None:
    found = summary([5.0, 1.0, 3.0, 4.0, 2.0])
    assert (found.q1, found.median, found.q3, found.repeats) == (2.0, 3.0, 4.0, 5)
    assert not found.settled
    assert summary([0.96, 0.97, 1.0, 1.03, 1.2]).settled


def test_equal_times_are_repeated_least() -> None:
    calls: list[int] = []
    found = measure(lambda: calls.append(1), _clock([0.5]), limit=100)
    assert (found.median, found.repeats, found.settled) == (0.5, LEAST, True)
    assert len(calls) == WARM_UP + LEAST


def test_times_that_spread_are_repeated_until_the_limit() -> None:
    spread = [1.0, 2.0] * MOST
    found = measure(lambda: None, _clock(spread), limit=30)
    assert 30 <= 1.5 * found.repeats <= 32
    assert not found.settled
    assert measure(lambda: None, _clock([0.01, 0.02] * MOST), limit=1e9).repeats == MOST


@pytest.mark.parametrize(("limit", "steps"), [(1e9, 3), (0.0, 1)])
def test_the_phases_make_the_passes_that_they_name(limit: float, steps: int) -> None:
    plan = plan_timings(SMOKE.model_copy(update={"pair": ("rooms:rooms-mix",)}))
    subject = make_subject(plan.methods[0], plan.sizes, torch.device("cpu"))
    forwards: list[int] = []
    subject.session.net.model.register_forward_hook(lambda *_: forwards.append(1))
    updates: list[int] = []
    optimiser = subject.session.optimiser
    assert optimiser is not None
    optimiser.register_step_post_hook(lambda *_: updates.append(1))
    seen = {}
    calls = WARM_UP + LEAST
    for phase, number, _ in phases(subject, _clock([1.0]), limit):
        seen[phase] = (number, len(updates) / calls)
        updates.clear()
    assert seen == {PREDICT: (0, 0), STEP: (1, 1), NSTEPS: (steps, steps), RESET: (0, 0)}


def test_flops_of_a_step_are_counted_forward_and_backward() -> None:
    """A backward pass of a convolution costs two of its forward passes."""
    plan = plan_timings(SMOKE.model_copy(update={"methods": ("base", "actmad")}))
    base, actmad = (
        make_subject(one, plan.sizes, torch.device("cpu")).step_flops() for one in plan.methods
    )
    # actmad's step has no heads in the backward pass, and the first layer needs no input gradient
    assert 2 * base < actmad < 3 * base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Time two methods at smoke sizes."""
    path = tmp_path_factory.mktemp("timings")
    arguments = ("--methods", "norm,actmad,clust3,ttt", "--preset", "smoke", "--device", "cpu")
    how = ("--results", path / "results", "--seconds", "0.1", "--json")
    done = call("time", *arguments, *how)
    assert done.returncode == 0, done.stderr
    (path / "shown.json").write_text(done.stdout, encoding="utf-8")
    assert call("report", "--results", path / "results", "--out", path / "out").returncode == 0
    return path


def test_every_method_and_phase_is_stored_and_shown(folder: Path) -> None:
    found, problems = measurements.read(folder / "results", KIND)
    assert not problems
    stored = {one.manifest["method"]: list(one.rows["phase"]) for one in found}
    moving = [PREDICT, STEP, NSTEPS, RESET]
    assert stored == {"norm": [PREDICT], "actmad": moving, "clust3": moving, "ttt": moving}
    shown = json.loads((folder / "shown.json").read_text(encoding="utf-8"))
    assert {(row["method"], row["phase"]) for row in shown} == {
        (method, phase) for method, phases in stored.items() for phase in phases
    }
    assert all(row["q1"] <= row["median"] <= row["q3"] for row in shown)


def test_the_report_has_the_published_times(folder: Path) -> None:
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "Inference time" in page
    text = (folder / "out" / "timing" / "timing.md").read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| ClusT3")]
    assert f"{published_seconds()['clust3']:.4f}" in row
    assert "is nearest to the published column in shape, of 3 methods" in text


def test_a_finished_method_is_not_timed_again(folder: Path) -> None:
    arguments = ("--methods", "norm,tent", "--preset", "smoke", "--device", "cpu")
    done = call("time", *arguments, "--results", folder / "results", "--plan", "--json")
    states = {row["method"]: row["state"] for row in json.loads(done.stdout)}
    assert states == {"norm": "done", "tent": "missing"}


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    assert "unknown method 'tnet'" in refused("time", "--methods", "tnet", "--results", tmp_path)
    two = ("--pair", "rooms:rooms-mix", "--pair", "nyud:taskonomy")
    assert "give one pair" in refused("time", *two, "--results", tmp_path)


def test_methods_that_the_sizes_do_not_suit_are_named(tmp_path: Path) -> None:
    tasks = ("--set", 'data.tasks=["depth","normals"]')
    arguments = ("--preset", "smoke", "--seconds", "0.1", "--results", tmp_path)
    done = call("time", "--methods", "eata,norm", *tasks, *arguments)
    assert done.returncode == 1
    assert "eata cannot be timed: it needs semseg, which is not timed" in done.stderr
    assert list(tmp_path.glob("timings/norm-*"))
    done = call("time", "--methods", "memo", *arguments)
    assert "memo cannot be timed: it needs batches of 1 (--set batch=1)" in done.stderr


def test_a_damaged_timing_is_named_and_left_out(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(folder / "results", results)
    (damaged,) = results.glob("timings/ttt-*/rows.parquet")
    damaged.write_bytes(damaged.read_bytes()[:-4])
    done = call("report", "--results", results, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    assert f"left out: {damaged}" in done.stderr
    assert "| TTT " not in (tmp_path / "out" / "timing" / "timing.md").read_text(encoding="utf-8")
