"""Compute hashes of values, files and code, and collect the versions of packages."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors")
"""Packages whose versions are stored with results."""


def hash_of(value: Any, length: int = 12) -> str:
    """Return a hash of a JSON-like value; it is the same on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def hash_file(path: Path) -> str:
    """Return a hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def code_hash(subject: type) -> str:
    """Return a hash of the module of a class and of the private modules that it uses.

    A private module is a file `_name.py` in the same folder, imported directly or by another
    private module. Comments, docstrings and formatting do not count.
    """
    files = _own_files(Path(inspect.getfile(subject)))
    hashes = [hash_source(file.read_text(encoding="utf-8")) for file in files]
    return hashes[0] if len(hashes) == 1 else hash_of(hashes)


@cache
def hash_source(source: str) -> str:
    """Return a hash of Python source code without its comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


@cache
def harness_hash() -> str:
    """Return a hash of the code of `ttt_bench` without its methods."""
    root = Path(__file__).parents[1]
    sources = sorted(
        path for path in root.rglob("*.py") if path.relative_to(root).parts[0] != "methods"
    )
    return hash_of(
        [
            (str(path.relative_to(root)), hash_source(path.read_text(encoding="utf-8")))
            for path in sources
        ]
    )


def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, "ttt-bench"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _own_files(module: Path) -> list[Path]:
    """Return the file of a module, then the private modules that it uses, sorted by name."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        new = set(_private_imports(waiting.pop())) - found - {module}
        found |= new
        waiting += new
    return [module, *sorted(found)]


def _private_imports(module: Path) -> Iterator[Path]:
    """Yield the private modules in a module's folder that it imports."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        for name in _imported_names(node):
            file = module.with_name(f"{name}.py")
            if name.startswith("_") and file.is_file():
                yield file


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Yield each part of the dotted names in an import statement."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield from alias.name.split(".")
    if isinstance(node, ast.ImportFrom):
        yield from (node.module or "").split(".")


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement is a constant alone, such as a docstring."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
