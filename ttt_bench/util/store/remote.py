"""One folder of a store, by the file system of fsspec for its URL.

The libraries repeat requests that fail. What fails in the end is raised as an error in one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ttt_bench.errors import BenchError

CONDITIONAL = ("s3", "s3a", "gs", "gcs", "memory")
"""Protocols whose library creates a file by one request that fails if the file exists."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "mtime", "LastModified", "created")
"""Entries of fsspec's listings that change with the content, the most reliable first."""
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""S3's codes for a conditional write whose file exists or is being written."""


class StoreError(BenchError):
    """A store does not do what is asked of it."""


@dataclass(frozen=True)
class Object:
    """A file of a store.

    Attributes:
        version: a text that changes with the content.
        size: bytes.
    """

    version: str
    size: int


class Remote:
    """The files below a URL, by their paths relative to it, with slashes.

    Raises:
        StoreError: the URL's protocol is unknown, or its package is missing. Every method raises it
            if the store cannot be used.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        self.protocol = url.partition("://")[0].lower()
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise StoreError(f"{url} needs a package ({error}): {self._install()}") from error
        except ValueError as error:
            raise StoreError(f"{url} cannot be used ({error}); use s3:// or gs://") from error

    def listing(self, name: str = "") -> dict[str, Object]:
        """Return the file of this name, or the files below it; empty if neither exists."""
        with self._explained("read"):
            try:
                found = self._fs.find(self._path(name), detail=True)
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise
                found = {}
        skip = len(self._root.rstrip("/")) + 1
        return {path[skip:]: _object(info) for path, info in found.items()}

    def read(self, name: str) -> str | None:
        """Return the text of a file; None if it does not exist."""
        with self._explained("read"):
            try:
                return str(self._fs.cat_file(self._path(name)).decode(errors="replace"))
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise
                return None

    def get(self, names: Sequence[str], targets: Sequence[Path]) -> bool:
        """Download files, several at a time; return False if one does not exist any more."""
        with self._explained("read"):
            try:
                self._fs.get([self._path(name) for name in names], [str(path) for path in targets])
            except FileNotFoundError:
                return False
        return True

    def put(self, sources: Sequence[Path], names: Sequence[str]) -> None:
        """Upload files, several at a time."""
        with self._explained("written"):
            self._fs.put([str(path) for path in sources], [self._path(name) for name in names])

    def write(self, name: str, text: str) -> None:
        """Write a small file, or replace it."""
        with self._explained("written"):
            self._fs.pipe_file(self._path(name), text.encode())

    def create(self, name: str, text: str) -> bool:
        """Write a small file that does not exist; return False if it does."""
        with self._explained("written"):
            try:
                self._fs.pipe_file(self._path(name), text.encode(), mode="create")
            except FileExistsError:
                return self.read(name) == text  # a repeated request meets the first one's file
            except OSError as error:
                if _code(error) not in _CONFLICTS:
                    raise
                return self.read(name) == text
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with self._explained("written"):
            try:
                self._fs.rm_file(self._path(name))
            except (FileNotFoundError, KeyError):
                return

    def modified(self, name: str) -> float | None:
        """Return when a file was written, in seconds by the store's clock; None without it."""
        with self._explained("read"):
            try:
                return float(self._fs.modified(self._path(name)).timestamp())
            except FileNotFoundError:
                return None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)

    def _install(self) -> str:
        extra = _EXTRAS.get(self.protocol)
        return f'pip install "ttt-bench[{extra}]"' if extra else "install it and repeat"

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Raise any error of the store's library as one line."""
        try:
            yield
        except BenchError:
            raise
        except Exception as error:  # each library has its own
            cause = " ".join(str(error).split()) or type(error).__name__
            message = f"{self.url} cannot be {doing} ({cause}); {_advice(error)}"
            raise StoreError(message) from error


def remote(url: str) -> Remote:
    """Return the folder of a URL; one per process, because connections do not survive a fork."""
    return _remote(url, os.getpid())


@cache
def _remote(url: str, _process: int) -> Remote:
    return Remote(url)


def _advice(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "create the bucket, or correct its name"
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return (
            "check the credentials (environment, ~/.aws or a role) and their rights on the bucket"
        )
    return "check the network, the URL and the endpoint (AWS_ENDPOINT_URL), and repeat the command"


def _code(error: BaseException) -> str:
    """Return the code of an error of S3; empty for other errors."""
    response = getattr(error.__cause__, "response", None)
    return str(response["Error"].get("Code", "")) if isinstance(response, dict) else ""


def _object(info: dict[str, Any]) -> Object:
    version = next((info[key] for key in _VERSIONS if info.get(key)), "")
    return Object(str(version), int(info["size"]))
