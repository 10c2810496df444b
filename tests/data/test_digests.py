"""Digests of every file: what is stored, found again, and what a fingerprint rests on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.files import nyud_files
from support.findings import among

from ttt_bench.data.images.digests import NAME, hash_files, read_digests
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.datatools.check import check
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

MANY = tuple(f"a{number:04d}" for number in range(20))
COVERED = {number * 20 // 16 for number in range(16)}
"""The frames whose contents the sampled fingerprint covers."""
OTHER = next(name for number, name in enumerate(MANY) if number not in COVERED)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    ids = {"train": MANY, "val": nyud_files.IDS["val"]}
    return nyud_files.write(tmp_path / "nyud", ids=ids, size=(16, 24))


def opened(root: Path) -> NYUD:
    return NYUD.open(root, "train", (16, 24), Silent())


def swap_byte(path: Path, *, keep_time: bool = False) -> None:
    """Change the last byte of a file, as a change that keeps the size."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    moment = before.st_mtime_ns + (0 if keep_time else 10_000_000)
    os.utime(path, ns=(moment, moment))


def depth_of(root: Path, name: str = OTHER) -> Path:
    return nyud_files.file_of(root, name, "depth")


def changed(dataset: NYUD) -> list[str]:
    return [notice for notice in dataset.notices if "changed since" in notice]


def test_a_sample_of_contents_misses_a_change_that_a_full_check_finds(root: Path) -> None:
    before = opened(root)
    assert (before.basis, before.contents) == ("sampled", None)
    check(root, Silent(), full=True, store=True)
    full = opened(root)
    assert full.basis == "full"
    assert full.contents
    assert full.fingerprint == before.fingerprint, "rows from before the full check stay valid"
    swap_byte(depth_of(root))
    after = opened(root)
    assert [f"depth/{OTHER}.npy" in notice for notice in changed(after)] == [True]
    assert after.fingerprint != before.fingerprint
    assert after.contents != full.contents
    (root / NAME).unlink()
    assert opened(root).fingerprint == before.fingerprint, "a sample does not see it"


def test_a_second_full_check_names_and_accepts_the_change(root: Path) -> None:
    check(root, Silent(), full=True, store=True)
    first = opened(root)
    swap_byte(depth_of(root))
    fingerprint = opened(root).fingerprint
    findings = check(root, Silent(), full=True, store=True)
    assert among(findings, "warning", "contents", "1 files changed", f"depth/{OTHER}.npy")
    accepted = opened(root)
    assert not changed(accepted)
    assert accepted.fingerprint == fingerprint, "its rows are not those of the earlier contents"
    swap_byte(depth_of(root))
    assert opened(root).fingerprint == first.fingerprint, "the file is restored"


def test_a_check_of_a_sample_names_the_files_that_changed_since_a_full_check(root: Path) -> None:
    check(root, Silent(), full=True, store=True)
    assert not among(check(root, Silent()), "warning", "contents")
    swap_byte(depth_of(root))
    nyud_files.file_of(root, MANY[0], "depth").touch()
    (finding,) = among(check(root, Silent()), "warning", "contents")
    assert f"1 files changed since `ttt-bench data check --full`: depth/{OTHER}.npy" in (
        finding.message
    )


def test_the_fingerprint_depends_neither_on_times_nor_on_places(root: Path, tmp_path: Path) -> None:
    check(root, Silent(), full=True, store=True)
    original = opened(root)
    moved = tmp_path / "elsewhere" / "copy"
    shutil.copytree(root, moved, copy_function=shutil.copyfile)
    for path in moved.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    copy = opened(moved)
    assert (copy.fingerprint, copy.contents, copy.basis) == (
        original.fingerprint,
        original.contents,
        "full",
    )
    assert not changed(copy)
    (moved / NAME).unlink()
    assert opened(moved).fingerprint == original.fingerprint


def test_files_whose_time_alone_changed_are_hashed_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(root, Silent(), full=True, store=True)
    os.utime(depth_of(root), ns=(10**18, 10**18))
    opened(root)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed again"))
    assert opened(root).basis == "full"


def test_new_files_are_named_and_the_basis_is_a_sample(root: Path) -> None:
    check(root, Silent(), full=True, store=True)
    lines = (root / NAME).read_text().splitlines()
    kept = [line for line in lines if f"depth/{OTHER}.npy" not in line]
    (root / NAME).write_text("\n".join(kept))
    dataset = opened(root)
    assert dataset.basis == "sampled"
    assert any("1 files were not hashed" in notice for notice in dataset.notices)


def test_an_interrupted_call_resumes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(root.rglob("*.npy"))
    hash_files(root, paths[:7], Silent())
    with (root / NAME).open("a") as file:
        file.write("12\t34\tabc")  # the line that was being written
    hashed = []
    from ttt_bench.data.images import digests

    entry = digests._entry

    def counted(folder: Path, known: digests.Digests, path: Path) -> tuple[str, digests.Entry]:
        hashed.append(path)
        return entry(folder, known, path)

    monkeypatch.setattr(digests, "_entry", counted)
    hash_files(root, paths, Silent())
    assert sorted(hashed) == paths[7:]
    assert len(read_digests(root)) == len(paths)


def test_digests_of_a_read_only_folder_are_in_the_users_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTT_BENCH_CACHE", str(tmp_path / "cache"))
    root.chmod(0o555)
    try:
        check(root, Silent(), full=True, store=True)
        assert opened(root).basis == "full"
    finally:
        root.chmod(0o755)
    assert not (root / NAME).exists()
    assert list((tmp_path / "cache" / "digests").glob("*.tsv"))


def test_a_file_that_cannot_be_read_is_named(root: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        hash_files(root, [root / "gone.png"], Silent())


def test_a_dry_run_stores_nothing(root: Path) -> None:
    check(root, Silent(), full=True, store=False)
    assert not (root / NAME).exists()
