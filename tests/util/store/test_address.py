"""Addresses of results: which are URLs, and where their mirrors are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttt_bench.errors import BenchError
from ttt_bench.util.store.address import mirror_of, results_path, shown, url_of


@pytest.mark.parametrize("url", ["s3://bucket/a", "gs://bucket/a b/c%2F", "s3://bucket/ä/run.1"])
def test_a_url_has_a_mirror_in_the_cache_that_tells_the_url(url: str, room_cache: Path) -> None:
    root = results_path(f"{url}/")
    assert root.is_relative_to(room_cache)
    assert root.name == url.rpartition("/")[2]
    assert (url_of(root), shown(root / "cells")) == (url, f"{url}/cells")
    assert mirror_of(root / "cells" / "x") == mirror_of(root) == root


def test_different_urls_have_different_mirrors() -> None:
    urls = ["s3://b/a/c", "s3://b/a", "gs://b/a", "s3://b/a%2Fc", "s3://b.a/c"]
    assert len({results_path(url) for url in urls}) == len(urls)


def test_paths_are_not_mirrored(tmp_path: Path) -> None:
    assert results_path("results/run") == Path("results/run")
    assert results_path(f"file://{tmp_path}/a") == tmp_path / "a"
    for path in (Path("results/run"), tmp_path, results_path("s3://b/a").parent):
        assert (url_of(path), mirror_of(path), shown(path)) == (None, None, str(path))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("s3://bucket", "name a folder in the bucket"),
        ("s3://", "name a folder in a bucket"),
        ("s3://bucket/..", "name a folder in the bucket"),
        (Path("s3://bucket/a"), "two slashes"),
        ("s3://bucket/" + "a" * 250, "too long"),
        ("", "not a path"),
    ],
)
def test_what_is_no_results_folder_is_refused(written: str | Path, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        results_path(written)
