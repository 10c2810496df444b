"""Worker processes on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import call
from support.runs import plan
from support.toy import Toy
from support.workers import saving_worker

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.sweep.launchers.base import Job
from ttt_bench.sweep.launchers.drive import dry_run
from ttt_bench.sweep.launchers.local import Local, Settings
from ttt_bench.util.stored import sealed


def _job(tmp_path: Path, code: str, workers: int = 2) -> Job:
    """Return a job whose workers run a Python program with their number as argument."""

    class Programs(Job):
        def command(self, number: int) -> list[str]:
            return [sys.executable, "-c", code, str(number)]

    return Programs(order=tmp_path / "order.json", workers=workers, cells=1)


class _Watch:
    def look(self) -> None:
        pass

    def notice(self, message: str) -> None:
        pass


def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = (
        "import os, signal, sys\n"
        f"with open({str(started)!r} + sys.argv[1], 'a') as file: file.write('.')\n"
        f"if sys.argv[1] == '1' and os.path.getsize({str(started)!r} + '1') < 3:\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert Local(Settings()).launch(_job(tmp_path, code), _Watch()) == []
    assert [(tmp_path / f"started{n}").read_text() for n in (0, 1)] == [".", "..."]


def test_the_error_of_a_worker_is_returned_with_its_log(tmp_path: Path) -> None:
    code = "import sys\nif sys.argv[1] == '1':\n    print('error: no data')\n    sys.exit(2)\n"
    (problem,) = Local(Settings()).launch(_job(tmp_path, code), _Watch())
    assert problem == f"worker 1: no data; log: {tmp_path / 'worker-1.log'}"


def test_an_interrupt_stops_the_workers(tmp_path: Path) -> None:
    code = saving_worker(tmp_path)

    class Interrupting(_Watch):
        def look(self) -> None:
            if len(list(tmp_path.glob("ready*"))) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Local(Settings()).launch(_job(tmp_path, code), Interrupting())
    assert len(list(tmp_path.glob("saved*"))) == 2


def test_a_worker_computes_equal_bytes_and_stops_with_its_driver(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(swept / "checkpoints", tmp_path / "checkpoints")
    options = ["run", "--preset", "smoke", "--methods", "tent", "--device", "cpu"]
    printed = call(*options, "--results", str(tmp_path), "--workers", "2", "--dry-run")
    command = printed.stdout.splitlines()[0].split()
    assert not (tmp_path / "cells").exists()
    # the standard input of this process is closed at once, as if its driver had been killed
    stopped = subprocess.run(
        [*command, "--attached"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert stopped.returncode == 130
    result = call(*command[command.index("work") :])
    assert result.returncode == 0
    ((folder, _),) = store.cells(tmp_path)
    for path in folder.glob("*.parquet"):
        assert path.read_bytes() == (swept / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("harness", "0", "the code of ttt_bench differs"),
        ("versions", {"torch": "0.1"}, "torch is "),
        ("methods", {"tent": "0"}, "the code of method tent differs"),
        ("data", {"rooms:rooms-mix": {"target": "0"}}, "the target data of rooms:rooms-mix differ"),
        ("cells", "0", "the plan differs"),
    ],
)
def test_a_worker_with_other_code_packages_or_data_refuses(
    tmp_path: Path, field: str, value: object, said: str
) -> None:
    options = ["run", "--preset", "smoke", "--methods", "tent", "--device", "cpu"]
    shown = call(*options, "--results", str(tmp_path), "--workers", "2", "--dry-run", "--json")
    (order,) = tmp_path.glob("launched/*/order.json")
    (launch,) = json.loads(shown.stdout)
    assert launch == {**launch, "launcher": "local", "workers": 2, "cells": 1, "order": str(order)}
    assert [f"work {order} --worker {n}" in launch["script"] for n in (0, 1)] == [True, True]
    values = json.loads(order.read_text())
    sealed.write(order, {**values, field: value})
    result = call("work", str(order))
    assert result.returncode == 2
    assert "error: worker refused: " in result.stderr
    assert said in result.stderr


def test_a_method_of_this_process_cannot_be_given_to_workers(
    tmp_path: Path, register: Callable[..., None]
) -> None:
    register(Toy)
    with pytest.raises(BenchError, match="method toy: registered in this process only"):
        dry_run(plan(tmp_path, methods="toy", workers=2))
