"""The job array of the launcher `slurm`: its script and its submission, by submitit."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env, environment_variables

from ttt_bench.errors import BenchError
from ttt_bench.sweep.launchers.base import Job
from ttt_bench.sweep.launchers.slurm.task import WorkerTask

MOST_TIME_LIMITS = 1000
"""How often a task may reach its time limit; each time it has saved what it computed."""

KEPT_VARIABLES = ("SLURM_CONF", "SUBMITIT_PREEMPT_SIGNAL")
"""Variables that a job needs; the others of an enclosing job are removed."""


class WorkerArray(submitit.SlurmExecutor):
    """A job array with one task per worker.

    Args:
        folder: folder on a file system that all nodes share, for scripts and logs.
        parameters: parameters of the executor.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any]) -> None:
        super().__init__(folder, max_num_timeout=MOST_TIME_LIMITS)
        self.update_parameters(**parameters)

    @classmethod
    def affinity(cls) -> int:
        """Return a positive number: scripts can be written where Slurm is not installed."""
        return 1

    def script(self, workers: int) -> str:
        """Return the job script of an array of `workers` tasks."""
        array = copy.copy(self)
        if workers > 1:
            array.parameters = {**self.parameters, "map_count": workers}
        return array._make_submission_file_text(self._submitit_command_str, "script")

    def start(self, job: Job) -> list[str]:
        """Submit one task per worker; return the IDs of the tasks.

        Raises:
            OSError: the folder cannot be written.
            BenchError: Slurm has refused the job.
        """
        tasks = [_task(job, number) for number in range(job.workers)]
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        with clean_env(), environment_variables(**kept):
            try:
                submitted = self.submit_array(tasks)
            except (FailedJobError, FailedSubmissionError) as error:
                reason = " ".join(str(error).split())
                raise BenchError(f"launcher slurm: sbatch failed ({reason})") from error
        return [one.job_id for one in submitted]


def _task(job: Job, number: int) -> WorkerTask:
    return WorkerTask(job.command(number), log=job.log(number), environment=dict(job.environment))
