"""Workers on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.command import refused
from support.runs import LINE, plan
from support.workers import saving_worker

from ttt_bench.errors import BenchError
from ttt_bench.sweep.launchers.base import Job
from ttt_bench.sweep.launchers.drive import launch
from ttt_bench.sweep.launchers.ray import Ray, RaySettings
from ttt_bench.sweep.launchers.ray_cluster import need_per_worker
from ttt_bench.util.interrupts import kept_handlers
from ttt_bench.util.progress import Bar, Silent

NODE = {"num_cpus": 1, "object_store_memory": 10**8}


class _Nodes:
    """A cluster of a head and one more node, with one CPU each."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.second = cluster, cluster.add_node(**NODE)

    def replace(self) -> None:
        """Kill the second node without notice, and add another one."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = self.cluster.add_node(**NODE)


@pytest.fixture(scope="module")
def nodes() -> Iterator[_Nodes]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, kept_handlers():  # nodes replace that of SIGTERM
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            yield _Nodes(cluster)
        finally:
            cluster.shutdown()


class _Watch:
    def __init__(self) -> None:
        self.notices: list[str] = []

    def look(self) -> None:
        pass

    def notice(self, message: str) -> None:
        self.notices.append(message)


def _launch(nodes: _Nodes, job: Job, watch: _Watch, **options: Any) -> list[str]:
    settings = RaySettings(address=nodes.cluster.address, **options)
    return Ray(settings).launch(job, watch)


def _programs(tmp_path: Path, code: str, workers: int) -> Job:
    """Return a job whose workers run a Python program with their number as argument."""

    class Programs(Job):
        def arguments(self, number: int) -> list[str]:
            return ["-c", code, str(number)]

    return Programs(order=tmp_path / "order.json", workers=workers, cells=1)


class _Killing(Silent):
    """A display that kills the second node when the first cell is finished."""

    def __init__(self, nodes: _Nodes) -> None:
        self.nodes, self.finished, self.notices = nodes, 0, list[str]()

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        if not self.finished:
            self.nodes.replace()
        self.finished += amount

    def notice(self, message: str) -> None:
        self.notices.append(message)


@pytest.mark.slow
def test_a_sweep_survives_the_death_of_a_node_with_equal_bytes(
    nodes: _Nodes, swept: Path, tmp_path: Path
) -> None:
    progress = _Killing(nodes)
    ray = {"launcher": "ray", "launcher_option": {"address": nodes.cluster.address}, "workers": 2}
    sweep = plan(tmp_path, methods=LINE, protocol="online,episodic", **ray)
    outcome = launch(sweep, progress)
    assert outcome.computed == {"done": len(sweep.cells)}
    assert progress.finished == len(sweep.cells)
    assert any("was lost and is started again" in notice for notice in progress.notices)
    stored = [path.relative_to(tmp_path) for path in tmp_path.glob("cells/**/*.parquet")]
    assert len([name for name in stored if name.name == "rows.parquet"]) == len(sweep.cells)
    for name in stored:
        assert (tmp_path / name).read_bytes() == (swept / name).read_bytes()


@pytest.mark.slow
def test_killed_workers_start_again_and_errors_are_returned(nodes: _Nodes, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        f"path = {str(tmp_path / 'started')!r} + sys.argv[1]\n"
        "with open(path, 'a') as file: file.write('.')\n"
        "if sys.argv[1] == '0' and os.path.getsize(path) < 2: os.kill(os.getpid(), 9)\n"
        "if sys.argv[1] == '1': print('error: no data'); sys.exit(2)\n"
    )
    watch = _Watch()
    (problem,) = _launch(nodes, _programs(tmp_path, code, 2), watch)
    assert problem.startswith("worker 1: no data (on ")
    assert (tmp_path / "started0").read_text() == ".."
    (notice,) = watch.notices
    assert notice.startswith("worker 0 was lost and is started again: killed by signal 9 on ")


@pytest.mark.slow
def test_an_interrupt_stops_the_workers_which_save(nodes: _Nodes, tmp_path: Path) -> None:
    code = saving_worker(tmp_path)

    class Interrupting(_Watch):
        def look(self) -> None:
            if len([*tmp_path.glob("ready*")]) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _launch(nodes, _programs(tmp_path, code, 2), Interrupting())
    assert len([*tmp_path.glob("saved*")]) == 2


@pytest.mark.slow
def test_a_folder_that_nodes_do_not_share_is_named(nodes: _Nodes, tmp_path: Path) -> None:
    (problem,) = _launch(nodes, _programs(tmp_path / "missing", "", 1), _Watch())
    assert "cannot be started on its node" in problem
    assert f"all nodes must share {tmp_path / 'missing'}" in problem


def test_an_address_without_ray_is_refused(tmp_path: Path) -> None:
    options = ["run", "--preset", "smoke", "--methods", "tent", "--launcher", "ray"]
    own = [*options, "--results", str(tmp_path), "--launcher-option"]
    # port 1 is reserved, and nothing listens there
    message = refused(*own, "address=127.0.0.1:1")
    assert message.startswith("Ray at 127.0.0.1:1 cannot be reached ([Errno 111]")
    assert "takes auto, HOST:PORT or ray://HOST:PORT, got 'cluster'" in refused(
        *own, "address=cluster"
    )
    assert not [*tmp_path.iterdir()]


def test_a_missing_ray_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchError, match=r'pip install "ttt-bench\[ray\]"'):
        Ray(RaySettings()).check()


def _node(*, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"node:10.0.0.1": 1.0, **resources}}


def test_a_worker_takes_a_gpu_where_nodes_have_some() -> None:
    nodes = [_node(CPU=4), _node(CPU=8, GPU=2)]
    assert need_per_worker(RaySettings(), nodes).amounts == {"CPU": 1, "GPU": 1}
    assert need_per_worker(RaySettings(gpus=0), nodes).amounts == {"CPU": 1}
    assert need_per_worker(RaySettings(), nodes[:1]).amounts == {"CPU": 1}


@pytest.mark.parametrize(
    "wanted", [{"cpus": 9}, {"cpus": 5, "gpus": 1}, {"memory": "65GB"}, {"resources": {"tpu": 1}}]
)
def test_resources_that_no_node_has_are_refused(wanted: dict[str, Any]) -> None:
    nodes = [_node(CPU=8, memory=64e9), _node(CPU=4, GPU=2), _node(alive=False, CPU=99, tpu=1)]
    message = r"no node .* has that \(they have 4 CPU, 2 GPU; 8 CPU, 64 GB of memory\); ask for"
    with pytest.raises(BenchError, match=message):
        need_per_worker(RaySettings(**{"gpus": 0, **wanted}), nodes)
