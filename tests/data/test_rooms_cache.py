"""The cache of rendered rooms: written once, complete or missing, repaired when damaged."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.notices import Notices

from ttt_bench.data.rooms import LOOKS, SPLITS, Rooms, render
from ttt_bench.data.rooms import cache as rooms_cache
from ttt_bench.data.rooms import dataset as rooms_dataset
from ttt_bench.data.rooms.cache import fingerprint
from ttt_bench.errors import BenchError
from ttt_bench.network import Batch
from ttt_bench.util.progress import Silent

SIZE = (24, 32)
COUNT = 10


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[range]:
    """Return the list of rendered chunks, which are small, so that there are several."""
    made: list[range] = []

    def counting(look: Any, seed: int, indices: range, size: tuple[int, int]) -> Batch:
        made.append(indices)
        return render(look, seed, indices, size)

    monkeypatch.setattr(rooms_dataset.renderer, "render", counting)
    monkeypatch.setattr(rooms_cache, "CHUNK_PIXELS", 4 * SIZE[0] * SIZE[1])
    return made


def _open(cache: Path, progress: Silent | None = None, **changes: Any) -> Rooms:
    wanted: dict[str, Any] = {
        "domain": "rooms",
        "split": "test",
        "size": SIZE,
        "count": COUNT,
    } | changes
    rooms = Rooms(**wanted, cache=cache)
    rooms.prepare(progress or Silent())
    return rooms


def _folders(cache: Path) -> list[Path]:
    return [path for path in (cache / "rooms").iterdir() if path.name != ".claims"]


def test_a_batch_is_what_was_rendered(tmp_path: Path) -> None:
    rooms = _open(tmp_path)
    assert len(rooms) == COUNT
    assert rooms.domain == "rooms"
    assert rooms.size == SIZE
    assert rooms.tasks == ("semseg", "depth", "normals", "edge")
    indices = [7, 2, 2, 9]
    stored, made = rooms.batch(indices), render(LOOKS["rooms"], SPLITS["test"], indices, SIZE)
    assert torch.allclose(stored.images, made.images, atol=1e-6)
    for name in ("semseg", "edge"):
        assert torch.equal(stored.targets[name], made.targets[name])
    assert torch.allclose(stored.targets["depth"], made.targets["depth"], atol=5.1e-4)
    assert torch.allclose(stored.targets["normals"], made.targets["normals"], atol=5e-5)
    assert torch.allclose(stored.targets["normals"].norm(dim=1), torch.ones(4, *SIZE), atol=1e-6)
    for name, value in made.targets.items():
        assert stored.targets[name].dtype == value.dtype
        assert stored.targets[name].shape == value.shape


def test_opened_twice_is_rendered_once(tmp_path: Path, calls: list[range]) -> None:
    watch = Notices()
    first = _open(tmp_path, watch)
    assert sorted(index for chunk in calls for index in chunk) == list(range(COUNT))
    assert max(map(len, calls)) == 4
    assert watch.advanced == COUNT
    calls.clear()
    second = _open(tmp_path, watch)
    assert calls == []
    assert watch.notices == []
    assert second.fingerprint == first.fingerprint
    assert torch.equal(first.batch([3]).images, second.batch([3]).images)


@pytest.mark.parametrize("harm", ["truncate", "remove", "meta", "flip", "zeros"])
def test_a_damaged_cache_is_rendered_again(tmp_path: Path, calls: list[range], harm: str) -> None:
    expected = _open(tmp_path).batch([0, 9]).images
    (folder,) = _folders(tmp_path)
    if harm == "truncate":
        os.truncate(folder / "images.npy", (folder / "images.npy").stat().st_size - 100)
    elif harm == "remove":
        (folder / "depth.npy").unlink()
    elif harm == "meta":
        (folder / "meta.json").write_text("{")
    else:
        content = bytearray((folder / "normals.npy").read_bytes())
        content[300:700] = bytes(400) if harm == "zeros" else bytes([content[300] ^ 1])
        (folder / "normals.npy").write_bytes(content)
    calls.clear()
    watch = Notices()
    again = _open(tmp_path, watch)
    assert calls
    assert "damaged" in watch.notices[0]
    assert str(folder) in watch.notices[0]
    assert torch.equal(again.batch([0, 9]).images, expected)
    assert _folders(tmp_path) == [folder]
    assert (tmp_path / "quarantine" / "rooms" / folder.name).is_dir()


def test_a_cache_under_the_name_of_another_one_is_damaged(tmp_path: Path) -> None:
    first = _open(tmp_path)
    _open(tmp_path, domain="rooms-mix")
    own = tmp_path / "rooms" / first.fingerprint
    (other,) = [folder for folder in _folders(tmp_path) if folder != own]
    expected = first.batch([3]).images
    shutil.rmtree(own)
    shutil.copytree(other, own)
    watch = Notices()
    assert torch.equal(_open(tmp_path, watch).batch([3]).images, expected)
    assert watch.heard(str(own), f"it belongs to {other.name}")


def test_a_cache_that_is_cut_while_it_is_used_is_an_error(tmp_path: Path) -> None:
    rooms = _open(tmp_path)
    (folder,) = _folders(tmp_path)
    first = rooms.batch([0])
    os.truncate(folder / "depth.npy", 2000)
    assert torch.equal(rooms.batch([0]).images, first.images)
    with pytest.raises(BenchError, match=r"depth.npy has been cut short.*run the same command"):
        rooms.batch([9])


def test_a_cache_that_is_deleted_while_it_is_used_is_still_read(tmp_path: Path) -> None:
    rooms = _open(tmp_path)
    expected = rooms.batch([1, 9]).images
    copy = pickle.loads(pickle.dumps(rooms))  # as the workers of a loader may get it
    shutil.rmtree(tmp_path / "rooms")
    for opened in (rooms, copy):
        assert torch.equal(opened.batch([1, 9]).images, expected)


def test_an_interrupted_rendering_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(look: Any, seed: int, indices: range, size: tuple[int, int]) -> Batch:
        if indices.start > 0:
            raise KeyboardInterrupt
        return render(look, seed, indices, size)

    monkeypatch.setattr(rooms_cache, "CHUNK_PIXELS", 4 * SIZE[0] * SIZE[1])
    monkeypatch.setattr(rooms_dataset.renderer, "render", interrupted)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        _open(tmp_path)
    assert _folders(tmp_path) == []
    assert torch.get_num_threads() == threads


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match="TTT_BENCH_CACHE") as error:
        _open(tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)


def test_a_cache_without_permission_is_not_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[range]
) -> None:
    _open(tmp_path)
    calls.clear()

    def denied(path: Path, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(BenchError, match=r"cannot be read .*check its permissions"):
        _open(tmp_path)
    assert calls == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BenchError, match="TTT_BENCH_CACHE"):
        _open(tmp_path)
    assert _folders(tmp_path) == []


def test_the_fingerprint_follows_what_decides_the_content() -> None:
    look = LOOKS["rooms"]
    known = {fingerprint(look, 1, SIZE, COUNT)}
    changed = replace(look, sensor=replace(look.sensor, noise=(0.0, 0.5)))
    for other in (
        fingerprint(changed, 1, SIZE, COUNT),
        fingerprint(look, 2, SIZE, COUNT),
        fingerprint(look, 1, (32, 24), COUNT),
        fingerprint(look, 1, SIZE, COUNT + 1),
    ):
        assert other not in known
        known.add(other)
    assert fingerprint(look, 1, SIZE, COUNT) in known


def test_splits_share_no_image(tmp_path: Path) -> None:
    images = [_open(tmp_path, split=split, count=3).batch(range(3)).images for split in SPLITS]
    flat = torch.cat(images).flatten(1)
    assert len(torch.unique(flat, dim=0)) == 3 * len(SPLITS)


@pytest.mark.parametrize(
    "changes", [{"domain": "roms"}, {"split": "tst"}, {"count": 0}, {"size": (0, 8)}]
)
def test_invalid_requests_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BenchError):
        _open(tmp_path, **changes)


def test_a_comment_renders_nothing_again_and_a_change_of_code_does(tmp_path: Path) -> None:
    module = tmp_path / "renderer.py"

    def hash_with(source: str) -> str:
        module.write_text(source)
        rooms_cache.code_fingerprint.cache_clear()
        return rooms_cache.code_fingerprint(tmp_path)

    plain = hash_with("def f(x):\n    return x + 1\n")
    documented = 'def f(x):\n    """Add one."""\n    # a comment\n    return (x\n        + 1)\n'
    assert hash_with(documented) == plain
    assert hash_with("def f(x):\n    return x + 2\n") != plain
    (tmp_path / "other.py").write_text("")
    assert hash_with(documented) != plain
    rooms_cache.code_fingerprint.cache_clear()
