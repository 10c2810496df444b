"""The commit that `--version` names."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ttt_bench.util.code.commit import checkout_commit


def git(root: Path, *arguments: str) -> str:
    """Run git in a folder, with an author, and return its output."""
    author = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(root), *author, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_checkout_has_a_commit_and_says_if_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "-am", "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert checkout_commit(tmp_path) == head
    (tmp_path / "a").write_text("2")
    assert checkout_commit(tmp_path) == f"{head}-dirty"


def test_other_folders_have_none(tmp_path: Path) -> None:
    assert checkout_commit(tmp_path) == ""
    (tmp_path / ".git").mkdir()  # an empty one
    assert checkout_commit(tmp_path) == ""
