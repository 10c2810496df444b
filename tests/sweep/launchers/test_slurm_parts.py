"""The parts of the launcher `slurm` that need no cluster: options, job script, task, states."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from ttt_bench.config.merging import make_request
from ttt_bench.errors import BenchError
from ttt_bench.sweep.launchers.base import Job
from ttt_bench.sweep.launchers.registry import find_launcher
from ttt_bench.sweep.launchers.slurm import launcher, queue
from ttt_bench.sweep.launchers.slurm import task as task_module
from ttt_bench.sweep.launchers.slurm.array import WorkerArray
from ttt_bench.sweep.launchers.slurm.launcher import Slurm
from ttt_bench.sweep.launchers.slurm.options import Options, minutes
from ttt_bench.sweep.launchers.slurm.task import WorkerTask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30),
        ("30:01", 31),
        ("2:30:00", 150),
        ("1-0", 1440),
        ("1-2:30", 1590),
        ("1-02:30:30", 1591),
    ],
)
def test_time_limits_are_those_of_sbatch(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "1h", "-5", "1-", "1:2:3:4"])
def test_other_time_limits_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="must be"):
        Options(time=text)


def test_a_task_must_have_time_between_its_start_and_the_signal() -> None:
    with pytest.raises(ValidationError, match="signal_seconds"):
        Options(time="1", signal_seconds=60)


def directives(script: str) -> dict[str, str]:
    """Return the options of a job script."""
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH --")]
    found = [line.removeprefix("#SBATCH --").partition("=") for line in lines]
    return {name: value for name, _, value in found}


def test_the_script_asks_for_what_the_options_say(tmp_path: Path) -> None:
    options = Options(
        partition="long", time="1-0", gpus=2, cpus=8, memory="16G", setup="module load cuda"
    )
    script = WorkerArray(tmp_path, options.parameters()).script(4)
    found = directives(script)
    assert found["array"].startswith("0-3")
    assert {name: found[name] for name in ("partition", "time", "cpus-per-task", "mem")} == {
        "partition": "long",
        "time": "1440",
        "cpus-per-task": "8",
        "mem": "16G",
    }
    assert found["gpus-per-node"] == "2"
    assert "requeue" in found
    assert found["signal"].endswith("@90")
    assert str(tmp_path) in found["output"]
    setup, command = script.index("\nmodule load cuda\n"), script.index("\nsrun ")
    assert setup < command
    assert sys.executable in script[command:]


def test_options_that_are_not_given_are_left_to_the_cluster(tmp_path: Path) -> None:
    found = directives(WorkerArray(tmp_path, Options().parameters()).script(1))
    assert not found.keys() & {"array", "partition", "account", "qos", "mem", "gpus-per-node"}


WORKER = """
import signal, sys, time
from pathlib import Path
log = Path(sys.argv[1])
def save(number, frame):
    time.sleep(0.3)
    log.write_text(log.read_text() + signal.Signals(number).name + " ")
    sys.exit(130)
for name in ("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2"):
    number = getattr(signal, name)
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, save)
log.write_text("ready ")
time.sleep(30)
"""


@pytest.fixture
def _kept_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(task_module, "REQUEUE_SECONDS", 0.0)
    before = {number: signal.getsignal(number) for number in task_module.OF_SLURM}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signal_when_ready(log: Path, *numbers: signal.Signals) -> threading.Thread:
    """Send signals to this process once a worker has written its log."""

    def send() -> None:
        while not log.exists() or "ready" not in log.read_text():
            time.sleep(0.02)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.1)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.usefixtures("_kept_handlers")
def test_a_worker_is_told_to_save_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    task = WorkerTask(
        [sys.executable, "-c", WORKER, str(log)], log=tmp_path / "output", environment={}
    )
    requeued = []
    signal.signal(signal.SIGUSR2, lambda number, frame: requeued.append(task.checkpoint()))
    thread = signal_when_ready(log, signal.SIGTERM, signal.SIGUSR2)
    with pytest.raises(SystemExit) as stop:
        task()
    thread.join()
    assert stop.value.code == 130
    assert log.read_text() == "ready SIGHUP "
    assert [one.function.command for one in requeued] == [task.command]


@pytest.mark.usefixtures("_kept_handlers")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the worker was ended by SIGKILL"),
        (
            "import os, sys; print('error:', os.environ['TTT_BENCH_DATA']); sys.exit(2)",
            "no such folder",
        ),
    ],
)
def test_a_worker_that_fails_is_an_error_of_the_task(
    code: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = WorkerTask(
        [sys.executable, "-c", code],
        log=tmp_path / "log",
        environment={"TTT_BENCH_DATA": "no such folder"},
    )
    with pytest.raises(SystemExit):
        task()
    assert capfd.readouterr().err == f"error: {said}\n"


@pytest.mark.usefixtures("_kept_handlers")
def test_a_worker_that_crashes_is_an_error_of_the_task(tmp_path: Path) -> None:
    task = WorkerTask([sys.executable, "-c", "1 / 0"], log=tmp_path / "log", environment={})
    with pytest.raises(SystemExit) as stop:
        task()
    assert stop.value.code == 1


def commands(folder: Path, **scripts: str) -> str:
    """Write programs with these names; return the PATH that finds them alone."""
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return str(folder)


def test_a_machine_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="sbatch and srun are not in PATH"):
        queue.check_reachable()


def test_a_controller_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"
    fails = f"echo '{reason}' >&2; exit 1"
    monkeypatch.setenv("PATH", commands(tmp_path, sbatch="", srun="", sinfo=fails))
    with pytest.raises(BenchError, match=r"Unable to contact slurm controller.*slurmctld") as error:
        queue.check_reachable()
    assert "\n" not in str(error.value)


def test_states_are_those_of_squeue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listing = "echo '7_0|RUNNING|None'; echo '7_1|PENDING|Resources'"
    monkeypatch.setenv("PATH", commands(tmp_path, squeue=listing))
    states = queue.read_states(["7_0", "7_1", "7_2"])
    assert [task.is_live for task in states.values()] == [True, True, False]
    assert queue.summary(states) == "1 running, 1 pending (Resources), 1 unknown"


def test_tasks_that_slurm_has_forgotten_have_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forgets = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
    monkeypatch.setenv("PATH", commands(tmp_path, squeue=forgets))
    assert not queue.read_states(["7"])["7"].is_live


def test_options_of_the_command_line_may_look_like_numbers(tmp_path: Path) -> None:
    given = {"time": 90, "account": 123, "memory": "16G", "gpus": 1}
    request = make_request({}, {"launcher": "slurm", "launcher_option": given})
    job = Job(order=tmp_path / "order.json", workers=3, cells=5)
    found = directives(find_launcher(request).script(job))
    assert (found["time"], found["account"], found["array"]) == ("90", "123", "0-2%3")


def test_a_worker_gets_as_many_gpus_as_it_trains_on(tmp_path: Path) -> None:
    job = Job(order=tmp_path / "order.json", workers=1, cells=1, devices=4)
    assert directives(Slurm(Options()).script(job))["gpus-per-node"] == "4"
    assert directives(Slurm(Options(gpus=8)).script(job))["gpus-per-node"] == "8"
    assert "gpus-per-node" not in directives(Slurm(Options(gpus=0)).script(job))
    with pytest.raises(BenchError, match=r"gpus=1 is less than --train-devices 4"):
        Slurm(Options(gpus=1)).script(job)


def test_a_controller_that_does_not_answer_for_a_minute_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, notices = [0.0], []
    running, done = queue.Task("RUNNING"), queue.Task("COMPLETED")
    lost = BenchError("squeue failed (Unable to contact slurm controller)")
    answers = iter([running, *[lost] * 4, running, *[lost] * 3, done])

    def read_states(ids: Sequence[str]) -> dict[str, queue.Task]:
        answer = next(answers)
        if isinstance(answer, BenchError):
            raise answer
        return dict.fromkeys(ids, answer)

    def wait(seconds: float, watch: object) -> None:
        clock[0] += 25

    class Told:
        def look(self) -> None:
            pass

        def notice(self, message: str) -> None:
            notices.append(message)

    monkeypatch.setattr(launcher, "_look_for", wait)
    monkeypatch.setattr(launcher.queue, "read_states", read_states)
    monkeypatch.setattr(launcher, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    job = Job(order=tmp_path / "order.json", workers=1, cells=1)
    tasks = launcher._wait(launcher._Array(job=job, ids=["7"]), Told())
    assert tasks == {"7": done}
    silent = [notice for notice in notices if "Unable to contact" in notice]
    assert len(silent) == 2, "an answer came between two silences"
    assert "for 60 seconds" in silent[0]


def test_unknown_options_are_refused_by_name() -> None:
    request = make_request({}, {"launcher": "slurm", "launcher_option": {"partitoin": "gpu"}})
    with pytest.raises(BenchError, match=r"partitoin.*did you mean partition"):
        find_launcher(request)


@pytest.mark.parametrize(
    ("state", "complete", "expected"),
    [
        ("RUNNING", False, False),
        ("COMPLETED", True, False),
        ("CANCELLED", True, False),
        ("CANCELLED", False, True),
        ("OUT_OF_MEMORY", True, True),
    ],
)
def test_a_task_that_ends_before_the_sweep_is_a_problem(
    state: str, complete: bool, expected: bool
) -> None:
    assert queue.Task(state).is_problem(sweep_is_complete=complete) is expected
