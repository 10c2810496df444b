"""Hashes and versions: what makes a number traceable."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "pillow", "safetensors")


def hash_of(value: Any, length: int = 12) -> str:
    """Hash of a JSON-like value, equal wherever it is computed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def hash_file(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def code_hash(subject: type) -> str:
    """Hash of the code of a class's module, and of the private modules beside it that it imports.

    Comments, docstrings and layout do not count.
    """
    files = _own_files(Path(inspect.getfile(subject)))
    hashes = [hash_source(file.read_text(encoding="utf-8")) for file in files]
    return hashes[0] if len(hashes) == 1 else hash_of(hashes)


def _own_files(module: Path) -> list[Path]:
    """A module's file, and those of the private modules (`_name`) in its folder that it imports."""
    imports = [
        n
        for n in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(n, ast.ImportFrom)
    ]
    names = {
        name
        for n in imports
        for name in (*(n.module or "").split("."), *(alias.name for alias in n.names))
    }
    beside = (module.with_name(f"{name}.py") for name in sorted(names) if name.startswith("_"))
    return [module, *(file for file in beside if file.is_file())]


@cache
def hash_source(source: str) -> str:
    """Hash of a Python source text without its comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


@cache
def harness_hash() -> str:
    """Hash of the harness's own code, the methods apart."""
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
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, "ttt-bench"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
