"""Claims in a store: one owner at a time, by conditional writes, with takeover of old ones."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ttt_bench.util.claims import Claims, Owner
from ttt_bench.util.store.address import results_path
from ttt_bench.util.store.remote import remote

GONE = Owner(host="other", machine="0" * 8, pid=1)


def claims(url: str, **options: Any) -> Claims:
    return Claims(results_path(url) / ".claims", **{"poll_seconds": 0.02, **options})


def stored(url: str) -> set[str]:
    return {name for name in remote(url).listing(".claims") if "clock" not in name}


def test_of_16_threads_exactly_one_owns_a_claim(s3_url: str) -> None:
    start, owned = threading.Barrier(16), []
    done = threading.Barrier(16)

    def take(number: int) -> None:
        start.wait()
        with claims(s3_url).attempt("unit") as other:
            if other is None:
                owned.append(number)
            done.wait()  # the owner holds the claim until all others have tried

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(take, range(16)))
    assert len(owned) == 1
    assert stored(s3_url) == set()


def test_exactly_one_of_many_takes_an_old_claim_over(s3_url: str) -> None:
    remote(s3_url).write(".claims/unit.claim", json.dumps(asdict(GONE)))
    time.sleep(1.1)  # the store's times have whole seconds
    start, done, owned = threading.Barrier(8), threading.Barrier(8), []

    def take(number: int) -> None:
        start.wait()
        with claims(s3_url, stale_seconds=0.5, beat_seconds=0.1).attempt("unit") as other:
            if other is None:
                owned.append(number)
            done.wait()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(8)))
    assert len(owned) == 1
    assert stored(s3_url) == set()


def test_a_claim_in_use_names_its_owner_and_a_fresh_one_is_not_taken(s3_url: str) -> None:
    remote(s3_url).write(".claims/unit.claim", json.dumps(asdict(GONE)))
    with claims(s3_url).attempt("unit") as other:
        assert other == GONE
    assert stored(s3_url) == {".claims/unit.claim"}


def test_the_owner_writes_its_claim_again_and_again(s3_url: str, s3_app: Any) -> None:
    def writes() -> int:
        return sum(m == "PUT" and p.endswith("unit.claim") for m, p in s3_app.requests)

    before = writes()
    with claims(s3_url, beat_seconds=0.01).attempt("unit"):
        end = time.monotonic() + 20
        while writes() < before + 3 and time.monotonic() < end:
            time.sleep(0.01)
    assert writes() >= before + 3
    assert stored(s3_url) == set()


def test_a_repeated_request_of_the_owner_is_no_other_owner(s3_url: str) -> None:
    assert remote(s3_url).create("x", "mine")
    assert remote(s3_url).create("x", "mine")  # as after a lost answer
    assert not remote(s3_url).create("x", "yours")
    assert remote(s3_url).read("x") == "mine"


def test_claims_in_a_store_leave_no_local_files(
    s3_url: str, on_machine: Callable[[str], Path]
) -> None:
    on_machine("a")
    with claims(s3_url).attempt("unit") as other:
        assert other is None
    assert not results_path(s3_url).exists()


@pytest.mark.parametrize("name", ["a/b", "ä"])
def test_files_are_read_as_they_were_written(s3_url: str, name: str) -> None:
    assert remote(s3_url).read(name) is None
    assert remote(s3_url).modified(name) is None
    remote(s3_url).write(name, "text\n")
    assert remote(s3_url).read(name) == "text\n"
    assert abs(remote(s3_url).modified(name) - time.time()) < 60
    assert remote(s3_url).listing() == remote(s3_url).listing(name)
    remote(s3_url).remove(name)
    remote(s3_url).remove(name)
    assert remote(s3_url).listing() == {}
