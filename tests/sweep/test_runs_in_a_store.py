"""Runs whose results are in a store: shared work, takeover, rows and tables of a local run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.runs import plan, run

from ttt_bench.report.render import summary_rows
from ttt_bench.results.store import cells, read_results
from ttt_bench.sweep.runner import Runner
from ttt_bench.util.progress import Silent
from ttt_bench.util.store.address import results_path
from ttt_bench.util.store.remote import StoreError, remote

Machine = Callable[[str], Path]
METHODS = ("base", "tent")


def sorted_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(list(rows.columns)).reset_index(drop=True)


def test_a_run_in_a_store_gives_the_rows_and_the_tables_of_a_local_one(
    s3_url: str, tmp_path: Path, on_machine: Machine
) -> None:
    local = tmp_path / "local"
    run(local, methods=METHODS)
    on_machine("first")
    run(s3_url, methods=METHODS)
    on_machine("second")
    assert run(s3_url, methods=METHODS).kept == len(METHODS)  # nothing is computed again
    found = read_results(s3_url)
    pd.testing.assert_frame_equal(sorted_rows(found), sorted_rows(read_results(local)))
    on_machine("third")
    assert summary_rows(results_path(s3_url)) == summary_rows(local) != []
    assert not [name for name in remote(s3_url).listing() if ".partial" in name or ".claim" in name]


@pytest.fixture
def command(s3_url: str, s3_app: Any, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Return a function that starts the run of a machine as a process."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        line = ["run", "--preset", "smoke", "--device", "cpu", "--methods", "base"]
        process = subprocess.Popen(
            [sys.executable, "-m", "ttt_bench.cli.main", *line, "--results", s3_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def claimed(url: str) -> bool:
    return any(name.endswith(".claim") for name in remote(url).listing(".claims"))


def test_what_a_killed_process_held_is_taken_over(
    s3_url: str, on_machine: Machine, command: Callable[[], Any]
) -> None:
    on_machine("first")
    killed = command()
    end = time.monotonic() + 60
    while not claimed(s3_url) and killed.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert claimed(s3_url)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    on_machine("second")
    assert run(s3_url, methods="base").computed == {"done": 1}
    assert {manifest["state"] for _, manifest in cells(results_path(s3_url))} == {"done"}
    assert not claimed(s3_url)


def test_a_store_that_fails_in_mid_run_costs_no_result(
    s3_url: str, on_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machine("first")
    sweep = plan(Path(results_path(s3_url)), methods="base")
    failing = remote(s3_url)

    def refuse(sources: list[Path], names: list[str]) -> None:
        if any("/cells/" in f"/{name}" for name in names):
            raise StoreError(f"{s3_url} cannot be written (no network)")
        type(failing).put(failing, sources, names)

    with monkeypatch.context() as patch:
        patch.setattr(failing, "put", refuse)
        with pytest.raises(StoreError, match=r"kept in .*the next run uploads them"):
            Runner(sweep, Silent()).run()
    assert not remote(s3_url).listing("cells")
    assert run(s3_url, methods="base").computed == {}
    on_machine("second")
    assert set(read_results(s3_url)["method"]) == {"base"}
