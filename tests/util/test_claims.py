"""Claims: any number of processes share work, and what an ended one held is taken over."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ttt_bench.errors import BenchError
from ttt_bench.util.claims import Claims, Owner
from ttt_bench.util.owner import is_gone, machine, start_of

FORK = multiprocessing.get_context("fork")


def claims(folder: Path, **kwargs: Any) -> Claims:
    return Claims(folder, **{"beat_seconds": 0.05, "poll_seconds": 0.02, **kwargs})


def claim_file(folder: Path, owner: Owner, age: float = 0.0) -> Path:
    """Write the claim of another owner on "unit", touched `age` seconds ago."""
    path = folder / "unit.claim"
    path.write_text(json.dumps(asdict(owner)))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def _work(folder: Path, units: int) -> None:
    """Do every unit of work that no other process does; a unit is a file created exclusively."""
    waiting = list(range(units))
    while waiting:
        for unit in list(waiting):
            with claims(folder / "claims").attempt(f"{unit}") as other:
                if other is not None:
                    continue
                done = folder / f"{unit}.done"
                if not done.exists():
                    (folder / f"{unit}.begun").touch(exist_ok=False)
                    time.sleep(0.01)
                    done.touch()
                waiting.remove(unit)


def test_processes_share_units_and_none_is_done_twice(tmp_path: Path) -> None:
    workers = [FORK.Process(target=_work, args=(tmp_path, 12)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert len(list(tmp_path.glob("*.done"))) == 12
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_claim_in_use_names_its_owner_and_is_free_after_the_block(tmp_path: Path) -> None:
    first, second = claims(tmp_path), claims(tmp_path)
    with first.attempt("unit") as other:
        assert other is None
        with second.attempt("unit") as other:
            assert other is not None
            assert str(other).startswith(f"process {os.getpid()} on ")
        with second.attempt("another unit") as other:
            assert other is None
    with second.attempt("unit") as other:
        assert other is None
    with pytest.raises(KeyboardInterrupt), first.attempt("unit"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_touched_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "unit.claim"
    with claims(tmp_path).attempt("unit"):
        os.utime(path, (0, 0))
        end = time.monotonic() + 20
        while path.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


@pytest.mark.parametrize(
    ("age", "free"), [(0.0, False), (100.0, False), (150.0, True), (-150.0, True)]
)
def test_a_claim_of_another_machine_is_taken_over_when_it_is_old(
    tmp_path: Path, age: float, free: bool
) -> None:
    path = claim_file(tmp_path, Owner(host="other", machine="0" * 8, pid=1), age)
    with claims(tmp_path).attempt("unit") as other:
        assert (other is None) == free
    assert path.exists() != free


def _hold(folder: Path) -> None:
    with claims(folder).attempt("unit"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_claim_of_an_ended_process_is_taken_over_at_once(tmp_path: Path) -> None:
    killed = FORK.Process(target=_hold, args=(tmp_path,))
    killed.start()
    killed.join(10)
    assert (tmp_path / "unit.claim").exists()
    with claims(tmp_path).attempt("unit") as other:
        assert other is None


def test_the_claim_of_an_earlier_process_of_the_same_number_is_taken_over(tmp_path: Path) -> None:
    for started, free in ((start_of(os.getpid()), False), ("1", True), ("", False)):
        claim_file(tmp_path, Owner(started=started))
        with claims(tmp_path).attempt("unit") as other:
            assert (other is None) == free


def test_a_process_that_waits_for_its_parent_has_ended(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(machine(), process.pid)
    assert start_of(process.pid) == ""
    assert not is_gone(machine(), os.getpid(), start_of(os.getpid()))
    process.wait()


def test_claims_of_ended_processes_are_removed_and_others_stay(tmp_path: Path) -> None:
    ended = claim_file(tmp_path, Owner(started="1")).rename(tmp_path / "ended.claim")
    elsewhere = claim_file(tmp_path, Owner(host="other", machine="0" * 8, pid=1), age=1000)
    (tmp_path / "damaged.claim").write_text("{")
    with claims(tmp_path).attempt("own"):
        claims(tmp_path).remove_ended()
        assert not ended.exists()
        assert {path.stem for path in tmp_path.iterdir()} == {elsewhere.stem, "damaged", "own"}


def _take_stale(folder: Path, start: Any) -> None:
    start.wait()
    with claims(folder).attempt("unit") as other:
        if other is None:
            (folder / "taken").touch(exist_ok=False)
            time.sleep(0.2)


def test_one_of_many_takes_a_stale_claim_over(tmp_path: Path) -> None:
    gone = Owner(host="other", machine="0" * 8, pid=1)
    for _ in range(5):
        claim_file(tmp_path, gone, age=1000)
        start = FORK.Event()
        takers = [FORK.Process(target=_take_stale, args=(tmp_path, start)) for _ in range(4)]
        for taker in takers:
            taker.start()
        start.set()
        for taker in takers:
            taker.join(20)
        assert [taker.exitcode for taker in takers] == [0] * 4
        (tmp_path / "taken").unlink()


def test_a_successor_that_ended_does_not_block_the_claim(tmp_path: Path) -> None:
    gone = Owner(host="other", machine="0" * 8, pid=1)
    path = claim_file(tmp_path, gone, age=1000)
    succession = path.with_suffix(f".{gone.token}")
    succession.touch()
    os.utime(succession, (0, 0))
    with claims(tmp_path).attempt("unit") as other:
        assert other == gone
    with claims(tmp_path).attempt("unit") as other:
        assert other is None


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[" * 100_000])
def test_a_damaged_claim_is_in_use_until_it_is_old(tmp_path: Path, text: str) -> None:
    path = claim_file(tmp_path, Owner())
    path.write_text(text)
    with claims(tmp_path).attempt("unit") as other:
        assert "unknown" in str(other)
    os.utime(path, (0, 0))
    with claims(tmp_path).attempt("unit") as other:
        assert other is None


@pytest.mark.parametrize("replace", [os.mkfifo, lambda path: path.symlink_to("missing")])
def test_a_claim_that_cannot_be_read_is_in_use_until_it_is_old(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    path = claim_file(tmp_path, Owner())
    path.unlink()
    replace(path)
    with claims(tmp_path).attempt("unit") as other:
        assert "unknown" in str(other)
    os.utime(path, (0, 0), follow_symlinks=False)
    with claims(tmp_path).attempt("unit") as other:
        assert other is None


def test_a_claim_that_was_taken_over_is_not_released_by_its_first_owner(tmp_path: Path) -> None:
    second = Owner(host="other", machine="0" * 8, pid=1)
    with claims(tmp_path).attempt("unit"):
        path = claim_file(tmp_path, second)
    assert json.loads(path.read_text()) == asdict(second)


def test_waiting_says_once_for_whom_and_ends_when_the_owner_does(tmp_path: Path) -> None:
    notices: list[str] = []
    path = claim_file(tmp_path, Owner(host="there", machine="0" * 8, pid=7))

    def told(message: str) -> None:
        notices.append(message)
        path.unlink()

    with claims(tmp_path).waiting("unit", "training base", told):
        assert path.exists()
    assert notices == ["waiting for training base by process 7 on there"]


def test_a_claim_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))  # as on a full disk
    try:
        with pytest.raises(BenchError, match=r"unit\.claim"), claims(tmp_path).attempt("unit"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    with claims(tmp_path).attempt("unit") as other:
        assert other is None
