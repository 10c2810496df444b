"""Compute hashes of values, files and code, and collect the versions of packages."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType
from typing import Any

from ttt_bench.util.code.digest import digest_of
from ttt_bench.util.code.digest import hash_source as hash_source
from ttt_bench.util.code.files import code_files
from ttt_bench.util.code.typed import is_typed, typed_source

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors")
"""Packages whose versions are stored with results."""


_as_text = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


def hash_of(value: Any, length: int = 12) -> str:
    """Return a hash of a JSON-like value; it is the same on every machine."""
    return _hash_text(_as_text(value), length)


def entry_texts(entries: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> text of the entries of a dictionary, for `hash_of_entries`."""
    return {name: f"{_as_text(name)}:{_as_text(value)}" for name, value in entries.items()}


def hash_of_entries(texts: Mapping[str, str], length: int = 12) -> str:
    """Return `hash_of` of the dictionary whose entries have these texts.

    Dictionaries with common entries are hashed ten times as fast, if those are turned into text
    once.
    """
    return _hash_text(f"{{{','.join(texts[name] for name in sorted(texts))}}}", length)


def _hash_text(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def hash_file(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def code_hash(*subjects: Any) -> str:
    """Return a hash of the code of classes, functions and modules of a plugin.

    It covers the files that `code_files` finds for the modules of the subjects, and of the bases of
    a class. Comments, docstrings and formatting do not count. A class or function that was typed in
    a notebook counts with the text of its cell.

    Args:
        subjects: classes, functions, or dotted names of imported modules.

    Raises:
        BenchError: a file or the text of a subject cannot be read.
    """
    owners = [owner for subject in subjects for owner in _owners(subject)]
    files = code_files(dict.fromkeys(map(_module_name, owners)))
    digests = {name: digest_of(path).digest for name, path in files.items()}
    for owner in owners:
        if not isinstance(owner, str) and is_typed(owner):
            digests[f"{owner.__module__}.{owner.__qualname__}"] = hash_source(typed_source(owner))
    found = sorted(digests.items())
    return found[0][1] if len(found) == 1 else hash_of(found)


def with_code(code: str, name: str = "code") -> dict[str, str]:
    """Return an entry for the hash of a plugin's code; nothing for code of the harness."""
    return {name: code} if code else {}


def _owners(subject: Any) -> Iterator[Any]:
    """Yield what has a module: a class and its bases, a function, or a module's name."""
    if isinstance(subject, type):
        yield from subject.__mro__
    elif isinstance(subject, partial):
        yield from _owners(subject.func)
    elif isinstance(subject, str | FunctionType):
        yield subject
    else:  # a method of a class, or an object that can be called
        yield from _owners(getattr(subject, "__self__", None) or type(subject))


def _module_name(owner: Any) -> str:
    return owner if isinstance(owner, str) else str(owner.__module__)


@cache
def harness_hash() -> str:
    """Return a hash of the code of `ttt_bench` without its methods."""
    return package_hash(Path(__file__).parents[1], without="methods")


def package_hash(root: Path, without: str) -> str:
    """Return a hash of the text of the Python files below a folder, without one subfolder.

    Comments count: to parse a package as large as this one takes seconds in every process.
    """
    sources = sorted(
        path for path in root.rglob("*.py") if path.relative_to(root).parts[0] != without
    )
    return hash_of(
        [(path.relative_to(root).as_posix(), path.read_text("utf-8")) for path in sources]
    )


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, "ttt-bench"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
