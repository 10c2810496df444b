"""What Slurm knows: whether it answers, whether it accepts a job, and the states of tasks."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttt_bench.errors import BenchError

COMMAND_SECONDS = 60.0
"""How long a command of Slurm may take; Slurm itself waits about 20 seconds for its controller."""
LIVE = frozenset(
    (
        *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD"),
        *("REQUEUE_FED", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"),
        "SUSPENDED",
    )
)
"""States of tasks that may still compute."""
PENDING, COMPLETED, FAILED, CANCELLED = "PENDING", "COMPLETED", "FAILED", "CANCELLED"
FORGOTTEN = "UNKNOWN"
"""The state of a task that ended some minutes ago, so that Slurm no longer lists it."""


@dataclass(frozen=True)
class Task:
    """The state of one task of a job array.

    Attributes:
        state: a state of Slurm, such as RUNNING.
        reason: why it waits, such as Resources; empty if it does not wait.
    """

    state: str
    reason: str = ""

    @property
    def is_live(self) -> bool:
        """Whether the task may still compute."""
        return self.state in LIVE

    def is_problem(self, *, sweep_is_complete: bool) -> bool:
        """Return whether the task has ended without an end of the sweep.

        Args:
            sweep_is_complete: whether another task has found that no work is left. Then tasks
                that have not started are cancelled.
        """
        expected = {COMPLETED, FORGOTTEN, *({CANCELLED} if sweep_is_complete else ())}
        return not self.is_live and self.state not in expected

    def __str__(self) -> str:
        words = self.state.lower().replace("_", " ")
        return f"{words} ({self.reason})" if self.reason else words


def check_reachable() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        BenchError: the commands of Slurm are missing, or its controller does not answer.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise BenchError(
            "launcher slurm: the commands sbatch and srun are not in PATH; start the run on a "
            "login node of the cluster, or load its module for Slurm"
        )
    try:
        _output("sinfo", "--noheader")
    except BenchError as error:
        raise BenchError(
            f"{error}; check that the cluster's controller (slurmctld) is running, that this "
            "machine reaches it, and SLURM_CONF if it is set"
        ) from error


def check_accepted(script: str) -> None:
    """Check that Slurm accepts a job script; nothing is submitted.

    Raises:
        BenchError: a partition, an account or another parameter is not allowed.
    """
    try:
        _output("sbatch", "--test-only", given=script)
    except BenchError as error:
        raise BenchError(f"{error}; change --launcher-option") from error


def read_states(ids: Sequence[str]) -> dict[str, Task]:
    """Return ID -> state of the tasks of a job array, or of one job.

    Raises:
        BenchError: Slurm does not answer.
    """
    job = ids[0].partition("_")[0] if ids else "0"
    try:
        listed = _output("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i|%T|%r")
    except BenchError as error:
        if "Invalid job id" not in str(error):
            raise
        listed = ""  # the whole array ended some minutes ago
    found = dict(_parsed(line) for line in listed.splitlines())
    return {name: found.get(name, Task(FORGOTTEN)) for name in ids}


def summary(tasks: Mapping[str, Task]) -> str:
    """Return the number of tasks per state: "2 running, 1 pending (Resources)"."""
    counts = Counter(str(task) for task in tasks.values())
    return ", ".join(f"{number} {state}" for state, number in counts.items())


def cancel_waiting(ids: Sequence[str]) -> None:
    """Cancel the tasks that have not started.

    Raises:
        BenchError: Slurm does not answer.
    """
    _output("scancel", "--state=PENDING", *ids)


def _parsed(line: str) -> tuple[str, Task]:
    name, state, reason = line.split("|", 2)
    return name, Task(state, "" if reason == "None" else reason)


def _output(*command: str, given: str = "") -> str:
    """Return the output of a command of Slurm.

    Raises:
        BenchError: the command fails; the message has its last line.
    """
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(
            f"launcher slurm: {command[0]} has not answered for {COMMAND_SECONDS:.0f} seconds"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        reason = re.sub(r"^(\w+: )?(error: |fatal: )?", "", reason)
        raise BenchError(f"launcher slurm: {' '.join(command[:2])} failed ({reason})")
    return done.stdout
