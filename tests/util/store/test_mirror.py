"""Mirrors: only what has changed is transferred, manifests last, and nothing is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ttt_bench.errors import BenchError
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import results_path
from ttt_bench.util.store.remote import Object, remote
from ttt_bench.util.store.sync import Action, Stamp, Synced, action

Machine = Callable[[str], Path]
OLD, NEW = Stamp(1, 1), Stamp(1, 2)


@pytest.mark.parametrize(
    ("local", "stored", "synced", "wanted"),
    [
        (None, None, None, "NOTHING"),
        (None, None, "v1", "NOTHING"),
        (OLD, None, None, "UPLOAD"),  # never in the store
        (OLD, None, "v1", "REMOVE"),  # removed there
        (NEW, None, "v1", "UPLOAD"),  # removed there, changed here
        (None, "v1", None, "DOWNLOAD"),
        (None, "v1", "v1", "DOWNLOAD"),  # removed here
        (OLD, "v1", "v1", "NOTHING"),
        (OLD, "v2", "v1", "DOWNLOAD"),
        (NEW, "v1", "v1", "UPLOAD"),
        (NEW, "v2", "v1", "DOWNLOAD"),  # changed in both places
        (OLD, "v1", None, "DOWNLOAD"),  # without a record
    ],
)
def test_what_makes_a_file_and_its_object_equal(
    local: Stamp | None, stored: str | None, synced: str | None, wanted: str
) -> None:
    found = action(local, stored and Object(stored, 1), synced and Synced(OLD, synced))
    assert found is Action[wanted]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def content(root: Path) -> dict[str, str]:
    """Return the visible files of a mirror."""
    found = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
    return {n: p.read_text() for n, p in found.items() if not n.startswith(".")}


CELL = {"cells/p/c/manifest.json": "m", "cells/p/c/rows.parquet": "r", "cells/p/c/a": "a"}


def test_a_published_folder_reaches_another_machine(s3_url: str, on_machine: Machine) -> None:
    on_machine("first")
    write(results_path(s3_url), CELL)
    mirror.publish(results_path(s3_url) / "cells/p/c")
    assert set(remote(s3_url).listing()) == set(CELL)
    on_machine("second")
    mirror.fetch(results_path(s3_url))
    assert content(results_path(s3_url)) == CELL
    mirror.remove(results_path(s3_url) / "cells/p/c/a")
    on_machine("first")
    mirror.fetch(results_path(s3_url) / "cells/p/c")
    assert set(content(results_path(s3_url))) == set(CELL) - {"cells/p/c/a"}


def test_only_what_has_changed_is_transferred(
    s3_url: str, s3_app: Any, on_machine: Machine
) -> None:
    def transfers(work: Callable[[Path], None], path: Path) -> list[str]:
        before = len(s3_app.requests)
        work(path)
        done = s3_app.requests[before:]
        return [p.rpartition("/")[2] for m, p in done if m == "PUT" or (m == "GET" and "/c" in p)]

    on_machine("first")
    cell = results_path(s3_url) / "cells/p/c"
    write(results_path(s3_url), CELL)
    assert transfers(mirror.publish, cell)[-1] == "manifest.json"
    assert transfers(mirror.publish, cell) == []
    assert transfers(mirror.fetch, cell) == []
    on_machine("second")
    cell = results_path(s3_url) / "cells/p/c"
    assert transfers(mirror.fetch, cell)[-1] == "manifest.json"
    assert transfers(mirror.fetch, cell) == []
    (cell / "rows.parquet").write_text("other rows")
    assert transfers(mirror.publish, cell) == ["rows.parquet"]
    on_machine("first")
    cell = results_path(s3_url) / "cells/p/c"
    assert transfers(mirror.fetch, cell) == ["rows.parquet"]
    assert (cell / "rows.parquet").read_text() == "other rows"


def test_checkpoints_and_hidden_files_are_transferred_by_name_only(
    s3_url: str, on_machine: Machine
) -> None:
    on_machine("first")
    root = results_path(s3_url)
    named = ["checkpoints/k.safetensors", "cells/p/.c.partial.safetensors", "quarantine/x"]
    write(root, {**dict.fromkeys(named, "t"), "checkpoints/k.times.json": "{}"})
    for name in (*named, "checkpoints/k.times.json"):
        mirror.publish(root / name)
    on_machine("second")
    root = results_path(s3_url)
    mirror.fetch(root)
    assert content(root) == {"checkpoints/k.times.json": "{}"}
    for name in named:
        mirror.fetch(root / name)
        assert (root / name).read_text() == "t"
        mirror.remove(root / name)
    assert set(remote(s3_url).listing()) == {"checkpoints/k.times.json"}


def test_what_was_not_uploaded_is_uploaded_by_the_next_run(
    s3_url: str, on_machine: Machine
) -> None:
    on_machine("first")
    root = results_path(s3_url)
    write(root, {**CELL, "checkpoints/k.safetensors": "k"})
    mirror.synchronise(root)
    assert set(remote(s3_url).listing()) == {
        *CELL,
        "checkpoints/k.safetensors",
    }
    remote(s3_url).remove("cells/p/c/a")
    mirror.synchronise(root)
    assert "cells/p/c/a" not in remote(s3_url).listing()  # it was removed there


def test_a_moved_folder_is_moved_in_the_store(s3_url: str, on_machine: Machine) -> None:
    on_machine("first")
    root = results_path(s3_url)
    write(root, CELL)
    mirror.publish(root / "cells/p/c")
    (root / "quarantine/cells/p").mkdir(parents=True)
    (root / "cells/p/c").rename(root / "quarantine/cells/p/c")
    mirror.moved(root / "cells/p/c", root / "quarantine/cells/p/c")
    assert set(remote(s3_url).listing()) == {f"quarantine/{name}" for name in CELL}


def test_paths_outside_mirrors_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path, CELL)
    for work in (mirror.require_claims, mirror.synchronise, mirror.fetch, mirror.publish):
        work(tmp_path)
    assert content(tmp_path) == CELL
    mirror.remove(tmp_path / "cells/p/c/a")
    assert not (tmp_path / "cells/p/c/a").exists()


def test_a_store_that_ignores_conditions_is_refused(
    s3_url: str, s3_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_app, "ignores_conditions", True)
    with pytest.raises(BenchError, match=f"{s3_url}: the store ignores the condition"):
        mirror.require_claims(results_path(s3_url))


def test_a_store_without_known_conditional_writes_is_refused() -> None:
    root = results_path("http://127.0.0.1:9/folder")
    with pytest.raises(BenchError, match="http:// has no known conditional writes; use s3://"):
        mirror.require_claims(root)


def test_the_mirror_of_another_store_with_this_url_is_refused(
    s3_url: str, on_machine: Machine
) -> None:
    on_machine("first")
    root = results_path(s3_url)
    mirror.require_claims(root)
    mirror.require_claims(root)
    on_machine("second")
    mirror.require_claims(results_path(s3_url))
    remote(s3_url).write(mirror.IDENTITY, "another store")
    with pytest.raises(BenchError, match="is the copy of another store"):
        mirror.require_claims(results_path(s3_url))
    shutil.rmtree(results_path(s3_url))
    mirror.require_claims(results_path(s3_url))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://no-such-bucket/a", "cannot be .*create the bucket, or correct its name"),
        ("s3://forbidden/a", "cannot be .*check the credentials"),
        ("nosuch://bucket/a", "nosuch.*use s3:// or gs://"),
        ("gs://bucket/a", r'pip install "ttt-bench\[gs\]"'),
    ],
)
@pytest.mark.usefixtures("s3_app")
def test_a_store_that_cannot_be_used_is_one_line(url: str, words: str) -> None:
    for work in (mirror.require_claims, mirror.synchronise, mirror.fetch):
        with pytest.raises(BenchError, match=words) as caught:
            work(results_path(url))
        assert "\n" not in str(caught.value)


def test_a_damaged_record_costs_one_transfer(s3_url: str, on_machine: Machine) -> None:
    cache = on_machine("first")
    root = results_path(s3_url)
    write(root, CELL)
    mirror.publish(root / "cells/p/c")
    records = [p for p in cache.rglob("files.json") if ".synced" in p.parts]
    assert records
    for path in records:
        path.write_text("{")
    mirror.fetch(root)
    assert content(root) == CELL
    os.utime(root / "cells/p/c/a", (1, 1))
    mirror.publish(root / "cells/p/c/a")
    assert set(remote(s3_url).listing()) == set(CELL)
