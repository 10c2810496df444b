"""Fixtures of stores: one S3 server per session, and an empty results folder in it per test."""

from __future__ import annotations

import itertools
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BUCKET = "results"
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """Return the address and the application of an S3 server with one bucket."""
    from support.s3_server import s3_server as running

    with running() as (address, app):
        urllib.request.urlopen(urllib.request.Request(f"{address}/{BUCKET}", method="PUT"))
        yield address, app


@pytest.fixture
def s3_app(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the application of the server, which the environment names."""
    address, app = s3_server
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return app


@pytest.fixture
def s3_url(s3_app: Any) -> str:
    """Return the URL of an empty folder of the server."""
    return f"s3://{BUCKET}/test{next(_NUMBERS)}/run"


@pytest.fixture
def on_machine(
    tmp_path: Path, room_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a function that gives this process the cache folder of a machine."""

    def move(name: str) -> Path:
        cache = tmp_path / name
        cache.mkdir(exist_ok=True)
        if not (cache / "rooms").exists():
            (room_cache / "rooms").mkdir(exist_ok=True)
            (cache / "rooms").symlink_to(room_cache / "rooms")
        monkeypatch.setenv("TTT_BENCH_CACHE", str(cache))
        return cache

    return move
