"""The launcher `slurm` on a cluster of one node that runs on this machine."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support.command import Done, call
from support.runs import run, stored_tables
from support.slurm_cluster import missing_parts, slurm_cluster

from ttt_bench.results import store
from ttt_bench.sweep.launchers.slurm import launcher
from ttt_bench.sweep.shared.order import read_order, write_order

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts()),
]
WAIT_SECONDS = 90.0


@pytest.fixture(scope="module", autouse=True)
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        pytest.MonkeyPatch.context() as patch,
        slurm_cluster(tmp_path_factory.mktemp("slurm")) as conf,
    ):
        patch.setenv("SLURM_CONF", str(conf))
        patch.setattr(launcher, "ASK_SECONDS", 1.0)
        yield


def launch(results: Path, *options: str) -> Done:
    """Run a small sweep by the launcher."""
    fixed = ("--preset", "smoke", "--device", "cpu", "--threads", str(torch.get_num_threads()))
    where = ("--results", str(results), "--launcher", "slurm")
    return call("run", *fixed, *where, *options)


def equal_tables(results: Path, expected: Path) -> None:
    """Compare all tables of all cells, bit for bit."""
    cells = [folder.relative_to(expected) for folder, _ in store.cells(expected)]
    assert {folder.relative_to(results) for folder, _ in store.cells(results)} == set(cells)
    for cell in cells:
        found, wanted = stored_tables(results / cell), stored_tables(expected / cell)
        assert found.keys() == wanted.keys()
        for name, table in wanted.items():
            pd.testing.assert_frame_equal(found[name], table, check_exact=True)


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def wait_for(is_true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def test_an_array_of_two_workers_gives_the_rows_of_one_process(tmp_path: Path) -> None:
    done = launch(tmp_path / "slurm", "--methods", "base,norm,tent,ttt", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "submitted 2 workers as Slurm job" in done.stderr
    assert "4 done" in done.stderr
    run(tmp_path / "alone", methods=("base", "norm", "tent", "ttt"))
    equal_tables(tmp_path / "slurm", tmp_path / "alone")
    assert slurm("squeue", "-h") == ""


LONG = {"rendered_target": 100, "target_limit": 100}
"""Sizes of a cell that takes some seconds, in twenty-five units of work."""


class Stopping(threading.Thread):
    """Stop the task of a job twice while it adapts, in both ways in which Slurm does.

    Attributes:
        saved: number of files of unfinished work, each time that the task was in the queue again.
    """

    def __init__(self, results: Path) -> None:
        super().__init__()
        self.results = results
        self.saved: list[int] = []

    def run(self) -> None:
        for command in (["scancel", "--signal=USR2"], ["scontrol", "requeue"]):
            wait_for(self.is_adapting, "adapting")
            time.sleep(1)
            job = slurm("squeue", "-h", "-o", "%i").strip()
            slurm(*command, job)
            wait_for(lambda: slurm("squeue", "-h", "-t", "PENDING") != "", "the requeue")
            self.saved.append(len([*self.results.rglob("*.partial.safetensors")]))

    def is_adapting(self) -> bool:
        return any(self.results.glob(".claims/*tent*.claim"))


def test_a_task_that_is_stopped_in_mid_cell_resumes_with_equal_rows(tmp_path: Path) -> None:
    results, expected = tmp_path / "slurm", tmp_path / "alone"
    stopping = Stopping(results)
    stopping.start()
    sizes = [f"--set=data.{name}={value}" for name, value in LONG.items()]
    done = launch(results, "--methods", "tent", "--steps", "10", *sizes)
    stopping.join()
    assert done.returncode == 0, done.stderr
    assert stopping.saved == [1, 1]
    run(expected, methods="tent", steps=10, set={f"data.{name}": n for name, n in LONG.items()})
    equal_tables(results, expected)


def test_a_worker_with_other_code_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = launcher.queue.check_accepted

    def edit_order(script: str) -> None:
        (order,) = tmp_path.glob("launched/*/order.json")
        write_order(order, read_order(order).model_copy(update={"harness": "0"}))
        submitted(script)

    monkeypatch.setattr(launcher.queue, "check_accepted", edit_order)
    done = launch(tmp_path, "--methods", "base")
    assert done.returncode == 2
    assert "worker 0: worker refused: the code of ttt_bench differs" in done.stderr
    assert "log: " in done.stderr
    assert "Traceback" not in done.stderr


def test_slurm_accepts_the_script_of_a_dry_run_and_nothing_is_submitted(tmp_path: Path) -> None:
    done = launch(tmp_path, "--methods", "base,norm", "--workers", "2", "--dry-run")
    assert done.returncode == 0, done.stderr
    subprocess.run(["sbatch", "--test-only"], input=done.stdout, text=True, check=True, timeout=30)
    assert slurm("squeue", "-h") == ""


def test_parameters_that_slurm_does_not_allow_are_refused_before_work(tmp_path: Path) -> None:
    done = launch(tmp_path, "--methods", "base", "--launcher-option", "partition=none")
    assert done.returncode == 2
    assert "Invalid partition name" in done.stderr
    assert slurm("squeue", "-h") == ""


def test_an_interrupt_leaves_the_tasks_and_the_same_command_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float, watch: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(launcher, "_look_for", interrupt)
        stopped = launch(tmp_path, "--methods", "norm")
    assert stopped.returncode == 130
    job = slurm("squeue", "-h", "-o", "%i").strip()
    assert f"`scancel {job}` cancels" in stopped.stderr
    done = launch(tmp_path, "--methods", "norm")
    assert done.returncode == 0, done.stderr
    assert f"Slurm job {job} of an earlier command has not ended" in done.stderr
