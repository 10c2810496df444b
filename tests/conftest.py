"""Fixtures for every test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from ttt_bench.adapter import Adapter
from ttt_bench.registry import METHODS
from ttt_bench.util.interrupts import SIGNALS

pytest_plugins = [
    "support.browser_fixtures",
    "support.report_fixtures",
    "support.store_fixtures",
]

if "PYTEST_XDIST_WORKER" in os.environ:  # parallel tests, and their processes, share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("COLUMNS", "LINES"):  # pytest-xdist sets them, but tests set their own widths
    os.environ.pop(name, None)
for number in SIGNALS:  # a shell's `&` and `nohup` ignore some of them
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler)
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


LONGEST = ("studies", "conformance", "sweep", "cli", "datatools", "report")
"""Folders of the longest files, in the order in which they run."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist take the files in our order; its own begins with the most tests per file."""
    config.option.loadscopereorder = False


def _rank(item: pytest.Item) -> int:
    longest = (n for n, name in enumerate(LONGEST) if item.nodeid.startswith(f"tests/{name}/"))
    return next(longest, len(LONGEST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that parallel workers end together; skip tests of a GPU.

    Tests marked `gpu` are skipped where there is no CUDA device.
    """
    items.sort(key=_rank)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from searching modules and collected tests, which all stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def room_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of rendered rooms for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> Path:
    """A results folder with some methods under every protocol; tests must not change it."""
    from support.runs import LINE, run

    results = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        run(results, methods=LINE, protocol="online,episodic,single-batch")
    return results


@pytest.fixture(autouse=True)
def _own_cache(room_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTT_BENCH_CACHE", str(room_cache))
    monkeypatch.delenv("TTT_BENCH_DATA", raising=False)


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Return a function that registers toy methods until the test ends."""
    with ExitStack() as stack:

        def add(*methods: type[Adapter]) -> None:
            stack.enter_context(METHODS.extended({method.name: method for method in methods}))

        yield add
