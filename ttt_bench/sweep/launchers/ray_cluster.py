"""Connect to a Ray cluster, or start one here, and find out what its nodes have."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

from ttt_bench.errors import BenchError
from ttt_bench.util.interrupts import kept_handlers

PROBE_SECONDS = 5.0
_OBJECT_STORE = 10**8
"""Bytes of the object store of a cluster that is started here; workers share files instead."""
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}
_UNITS = {"memory": ("GB of memory", 10**9)}
"""Map a resource to its name and unit in messages; others are counted."""


class Wanted(Protocol):
    """The options that say what a worker needs."""

    @property
    def address(self) -> str: ...
    @property
    def cpus(self) -> float: ...
    @property
    def gpus(self) -> float | None: ...
    @property
    def memory(self) -> int | None: ...
    @property
    def resources(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Need:
    """What a worker needs.

    Attributes:
        amounts: name of a resource -> amount.
    """

    amounts: Mapping[str, float]

    def fits(self, resources: Mapping[str, float]) -> bool:
        """Return whether a node with these resources can have a worker."""
        return all(resources.get(name, 0) >= amount for name, amount in self.amounts.items())

    @property
    def options(self) -> dict[str, Any]:
        """The options of an actor. Its calls run in three threads: start, wait and stop."""
        own = {**self.amounts}
        return {
            "num_cpus": own.pop("CPU", 0),
            "num_gpus": own.pop("GPU", 0),
            "memory": own.pop("memory", None),
            "resources": own,
            "max_concurrency": 3,
            "scheduling_strategy": "SPREAD",
        }

    def __str__(self) -> str:
        return _listed(self.amounts)


def need_per_worker(wanted: Wanted, nodes: Iterable[Mapping[str, Any]], devices: int = 1) -> Need:
    """Return what a worker needs.

    Args:
        wanted: the options of the launcher.
        nodes: those of the cluster, as `ray.nodes` describes them.
        devices: the number of GPUs that a worker trains a source model on.

    Raises:
        BenchError: no node has it.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = wanted.gpus
    if gpus is None:
        gpus = devices if any(resources.get("GPU", 0) >= 1 for resources in alive) else 0
    amounts = {"CPU": wanted.cpus, "GPU": gpus, "memory": wanted.memory or 0, **wanted.resources}
    need = Need({name: amount for name, amount in amounts.items() if amount})
    if not any(need.fits(resources) for resources in alive):
        having = "; ".join(sorted({_listed(resources) for resources in alive})) or "nothing"
        raise BenchError(
            f"a worker needs {need}, and no node of the Ray cluster has that (they have {having}); "
            "ask for less by --launcher-option cpus=, gpus=, memory= or resources="
        )
    return need


def check_address(address: str) -> None:
    """Check that Ray is installed, and that a process answers at an address.

    Raises:
        BenchError: Ray is not installed, the address is not valid, or nothing answers there.
    """
    _ray()
    if address in ("", "auto"):
        return
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError:
        host, port = None, None
    if place.scheme not in ("", "ray") or not host or not port:
        raise BenchError(
            f"--launcher-option address: takes auto, HOST:PORT or ray://HOST:PORT, got {address!r}"
        )
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise _unreachable(address, error) from error


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Yield the module `ray` while it is connected to a cluster.

    A connection that the calling program has made is used and kept.

    Args:
        address: that of the cluster; empty to start one here, which ends with the block.

    Raises:
        BenchError: the cluster cannot be reached or started.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=_short(), ignore_cleanup_errors=True
    ) as own:
        with _undisturbed():
            _connect(ray, address, own)
        try:
            yield ray
        finally:
            ray.shutdown()


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            f"--launcher ray needs the package ray, which cannot be imported ({error}): "
            'pip install "ttt-bench[ray]"'
        ) from error
    return ray


def _connect(ray: ModuleType, address: str, folder: str) -> None:
    own = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False, "_temp_dir": folder}
    quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        with kept_handlers():  # Ray replaces that of SIGTERM
            ray.init(address=address or "local", **quiet, **({} if address else own))
    except Exception as error:  # of many kinds
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> BenchError:
    cause = str(error).strip().partition("\n")[0] or type(error).__name__
    if not address:
        return BenchError(f"Ray cannot be started on this machine ({cause})")
    return BenchError(
        f"Ray at {address} cannot be reached ({cause}); check that `ray status` works there, that "
        "this machine may open the port, and that Ray and Python have the same versions on both"
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore the environment and the handler of SIGTERM, which connecting replaces."""
    before, handler = {**os.environ}, signal.getsignal(signal.SIGTERM)
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _short() -> str | None:
    """Return a folder with a short name for sockets, whose paths have at most 107 bytes."""
    return "/tmp" if Path("/tmp").is_dir() else None


def _listed(resources: Mapping[str, float]) -> str:
    """Return resources for messages, without those that Ray itself uses."""
    hidden = "object_store_memory"
    own = {name: n for name, n in resources.items() if ":" not in name and name != hidden}
    return ", ".join(_amount(name, amount) for name, amount in sorted(own.items()))


def _amount(name: str, amount: float) -> str:
    noun, unit = _UNITS.get(name, (name, 1))
    return f"{amount / unit:g} {noun}"
