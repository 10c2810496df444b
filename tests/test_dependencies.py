"""The dependency rules of CONTRIBUTING, and what a listing may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

HARNESS = [
    path
    for path in (ROOT / "ttt_bench").rglob("*.py")
    if "methods" not in path.relative_to(ROOT).parts
]
METHODS = sorted((ROOT / "methods").glob("*.py"))
PUBLIC = {
    "ttt_bench.adapter",
    "ttt_bench.data.base",
    "ttt_bench.errors",
    "ttt_bench.losses",
    "ttt_bench.model",
    "ttt_bench.model.batchnorm",
    "ttt_bench.tasks",
}
"""What a method may import of the harness."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("path", HARNESS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_harness_knows_no_method(path: Path) -> None:
    assert not any(name.startswith(("ttt_bench.methods", "methods")) for name in imports(path))


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.name)
def test_methods_import_public_names_only(path: Path) -> None:
    # a large method may keep a part of itself in a private module beside it
    private = tuple(
        f"ttt_bench.methods.{other.stem}"
        for other in METHODS
        if other.stem.startswith(f"_{path.stem}_")
    )
    ours = {
        name
        for name in imports(path)
        if name.startswith("ttt_bench") and not name.startswith(private)
    }
    assert all(
        any(name == public or name.startswith(f"{public}.") for public in PUBLIC) for name in ours
    ), ours


def loaded_by(*command: str) -> set[str]:
    """Which of the heavy packages a command loads."""
    code = (
        "import sys, runpy\n"
        f"sys.argv = {['ttt-bench', *command]!r}\n"
        "try:\n    from ttt_bench.cli.main import main; main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('LOADED', *(n for n in ('torch', 'pandas', 'matplotlib', 'timm') if n in sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split("LOADED")[-1].split())


@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("methods", "list"),
        ("pairs", "list"),
        ("pairs", "list", "--json"),
        ("run", "--help"),
        ("--version",),
    ],
)
def test_listings_load_nothing_heavy(command: tuple[str, ...]) -> None:
    assert loaded_by(*command) == set()


def test_the_report_loads_no_torch() -> None:
    code = (
        "import sys, ttt_bench.report.render, ttt_bench.sync, ttt_bench.metrics.scores\n"
        "print('torch' in sys.modules, any(m.startswith('ttt_bench.methods') for m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_no_file_is_longer_than_500_lines() -> None:
    files = [
        path
        for folder in ("ttt_bench", "methods", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert not long


def test_every_named_package_is_declared() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {requirement.split(">")[0].split("=")[0] for requirement in project["dependencies"]}
    names = {"PIL": "pillow", "yaml": "pyyaml"}
    used = {
        names.get(name.split(".")[0], name.split(".")[0])
        for path in [*HARNESS, *METHODS]
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names | {"ttt_bench"}
    }
    assert used <= declared
