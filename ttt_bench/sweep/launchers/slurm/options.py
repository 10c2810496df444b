"""The options of the launcher `slurm`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ttt_bench.errors import BenchError
from ttt_bench.sweep.launchers.base import Settings

Text = Annotated[str, BeforeValidator(str)]
"""A text on the command line, also one that TOML reads as a number or a time of day."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def minutes(text: str) -> int:
    """Return a time limit in minutes, rounded up.

    Args:
        text: MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES or
            DAYS-HOURS:MINUTES:SECONDS, as for `sbatch --time`.

    Raises:
        ValueError: it is none of these, or 0.

    >>> minutes("90"), minutes("1:00:30"), minutes("2-12")
    (90, 61, 3600)
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("must be MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS")
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    # hours come first after days, and in three parts; otherwise minutes do
    seconds_per_part = (3600, 60, 1) if days or len(parts) == 3 else (60, 1)
    seconds = sum(part * unit for part, unit in zip(parts, seconds_per_part, strict=False))
    found = math.ceil((86400 * int(days or 0) + seconds) / 60)
    if found == 0:
        raise ValueError("must be at least one minute")
    return found


def _check_time(text: str) -> str:
    minutes(text)
    return text


class Options(Settings):
    """What the launcher `slurm` asks Slurm for; each worker is one task of a job array."""

    partition: Text | None = Field(None, description="Partition. Default: the cluster's.")
    time: Annotated[Text, AfterValidator(_check_time)] = Field(
        "60",
        description="Time limit of a task, as for `sbatch --time`: minutes, HOURS:MINUTES:SECONDS "
        "or DAYS-HOURS. A task that reaches it saves its work and is queued again.",
    )
    cpus: int = Field(1, gt=0, description="Cores per worker.")
    gpus: int | None = Field(
        None, ge=0, description="GPUs per worker. Default: --train-devices if above 1, otherwise 0."
    )
    memory: Text | None = Field(
        None, description="Memory per worker, such as 16G. Default: the cluster's."
    )
    account: Text | None = Field(None, description="Account. Default: that of the user.")
    qos: Text | None = Field(None, description="Quality of service. Default: that of the user.")
    constraint: Text | None = Field(None, description="Features that a node must have.")
    setup: Text | None = Field(
        None, description="Shell command that the job script runs before the worker."
    )
    signal_seconds: int = Field(
        90,
        ge=1,
        description="Seconds before the time limit at which a worker is told to save its work.",
    )

    @model_validator(mode="after")
    def _check_signal(self) -> Self:
        if self.signal_seconds >= 60 * minutes(self.time):
            raise ValueError(
                f"signal_seconds={self.signal_seconds} must be less than the time limit, "
                f"{60 * minutes(self.time)} seconds"
            )
        return self

    def parameters(self, devices: int = 1) -> dict[str, Any]:
        """Return the parameters of `submitit.SlurmExecutor`.

        Args:
            devices: the number of GPUs that a worker trains a source model on.

        Raises:
            BenchError: fewer GPUs are given than a worker trains on.
        """
        gpus = self.gpus
        if gpus is None:
            gpus = devices if devices > 1 else 0
        elif 0 < gpus < devices:
            raise BenchError(
                f"launcher slurm: gpus={gpus} is less than --train-devices {devices}; change "
                "--launcher-option"
            )
        given = {
            "partition": self.partition,
            "gpus_per_node": gpus or None,
            "mem": self.memory,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "setup": [self.setup] if self.setup else None,
        }
        return {
            "job_name": "ttt-bench",
            "time": minutes(self.time),
            "cpus_per_task": self.cpus,
            "ntasks_per_node": 1,
            "srun_args": [f"--cpus-per-task={self.cpus}"],  # since Slurm 22.05
            "signal_delay_s": self.signal_seconds,
            "wckey": None,
            "stderr_to_stdout": True,
            # Slurm queues a task again whose node fails or that is pre-empted
            "additional_parameters": {"requeue": True},
            **{name: value for name, value in given.items() if value is not None},
        }
