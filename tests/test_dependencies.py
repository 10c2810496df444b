"""The packages that listings import, and declared packages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

HARNESS = [
    path
    for path in (ROOT / "ttt_bench").rglob("*.py")
    if "methods" not in path.relative_to(ROOT).parts
]
METHODS = sorted((ROOT / "methods").glob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def loaded_by(*command: str) -> set[str]:
    """Return the slow packages that a command imports."""
    code = (
        "import sys, runpy\n"
        f"sys.argv = {['ttt-bench', *command]!r}\n"
        "try:\n    from ttt_bench.cli.main import main; main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = ('torch', 'pandas', 'matplotlib', 'timm')\n"
        "print('LOADED', *(name for name in heavy if name in sys.modules))\n"
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


def test_every_named_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    of_launchers = [*extras["ray"], *extras["slurm"]]  # imported when the launcher starts
    declared = {
        requirement.split(">")[0].split("[")[0]
        for requirement in (*project["dependencies"], *of_launchers)
    }
    names = {"PIL": "pillow", "pydantic_core": "pydantic", "typing_extensions": "typing-extensions"}
    used = {
        names.get(name.split(".")[0], name.split(".")[0])
        for path in [*HARNESS, *METHODS]
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names | {"ttt_bench"}
    }
    assert used <= declared


def test_the_page_on_licences_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [one for name in extras.keys() - {"dev"} for one in extras[name]]
    declared = [*project["dependencies"], *optional]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+)(?: \(extra `[\w-]+`\))? \|", page, re.MULTILINE)
    names = {re.split(r"[\[>=<;]", one)[0].strip() for one in declared}
    assert names - {"ttt-bench"} <= set(rows)
