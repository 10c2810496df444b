"""A Slurm cluster of one node on this machine, for tests: munged, slurmctld and slurmd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DAEMONS = ("mungekey", "munged", "slurmctld", "slurmd", "sbatch")
START_SECONDS = 30.0
STOP_SECONDS = 15.0

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
KillWait=10
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing_parts() -> str:
    """Return the reason why a cluster cannot start on this machine, or an empty text."""
    if os.geteuid() != 0:
        return "not root"
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)} (Debian: slurm-wlm munge)" if absent else ""


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Path]:
    """Start a cluster of one node with two cores; yield its `slurm.conf`; stop it.

    All its jobs are cancelled at the end. The commands of Slurm find the cluster through the
    environment variable `SLURM_CONF`.

    Args:
        folder: empty folder for the configuration, the keys, the state and the logs.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    controller_port, node_port = _free_ports(2)
    conf.write_text(
        _CONF.format(host=host, folder=folder, controller_port=controller_port, node_port=node_port)
    )
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    key = folder / "munge.key"
    subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
    with ExitStack() as stack:
        start = stack.enter_context
        start(_daemon(_munged(folder, key), folder / "munged.out", environment))
        _wait_for((folder / "munge.socket").exists, "munged")
        start(_daemon(["slurmctld", "-D"], folder / "slurmctld.out", environment))
        start(_daemon(["slurmd", "-D"], folder / "slurmd.out", environment))
        _wait_for(lambda: _output(environment, "sinfo", "-h", "-o", "%t") == "idle", "slurmd")
        stack.callback(_cancel_all, environment)
        yield conf


def _munged(folder: Path, key: Path) -> list[str]:
    files = {
        "key-file": key,
        "socket": folder / "munge.socket",
        "pid-file": folder / "munged.pid",
        "log-file": folder / "munged.log",
        "seed-file": folder / "munged.seed",
    }
    return ["munged", "--foreground", "--force", *(f"--{name}={at}" for name, at in files.items())]


@contextmanager
def _daemon(command: list[str], output: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a program in the foreground while the block runs."""
    with output.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all(environment: dict[str, str]) -> None:
    """Cancel all jobs and wait until their processes have ended."""
    _output(environment, "scancel", "--user=root")
    with suppress(TimeoutError):
        _wait_for(lambda: _output(environment, "squeue", "-h") == "", "scancel")


def _output(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
    return done.stdout.strip()


def _wait_for(is_true: Callable[[], bool], name: str) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not hold after `START_SECONDS`.
    """
    end = time.monotonic() + START_SECONDS
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"{name} is not ready after {START_SECONDS:.0f} seconds")
        time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
