"""The files that the code of a plugin consists of.

These are the files of the installed distribution that provides a module, or else those of its
top-level package on disk, or its single file. In addition, modules that are imported from outside
installed packages are followed, such as a helper in the same project folder. Of `ttt_bench`, only
its methods and networks are followed, each one with those of their modules that it imports.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec, resolve_name
from pathlib import Path, PurePath
from typing import NamedTuple

from ttt_bench.util.code.digest import digest_of

OWN_PLUGINS = ("ttt_bench.methods.", "ttt_bench.model.networks.")
"""Prefixes of the modules of `ttt_bench` that are plugins."""
LIBRARIES = frozenset(
    {
        "ttt_bench",
        *("torch", "torchvision", "timm", "numpy", "pandas", "PIL", "safetensors", "pydantic"),
    }
)
"""Packages that are not followed: manifests have their versions and the harness's hash."""
CODE = frozenset(
    {
        *(".py", ".pyc", ".pyx", ".so", ".pyd", ".dll", ".dylib"),
        *(".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"),
    }
)
DATA = frozenset(
    {
        *(".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".txt", ".csv"),
        *(".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors"),
    }
)
"""Suffixes of the files of a package that its code may read."""
WRITTEN = frozenset({"results", "reports", "checkpoints"})
"""Folders of a package on disk whose data files do not count, because runs write them."""


RESULTS = {"cells", "checkpoints"}
"""Folders that a results folder has; nothing below a results folder counts, whatever its name."""


class Module(NamedTuple):
    """A module by its dotted name, and its file (of an archive: the archive)."""

    name: str
    file: Path

    @property
    def depth(self) -> int:
        """Number of folders between the file and the folder that it is imported from."""
        return self.name.count(".") + self.file.name.startswith("__init__.")

    @property
    def root(self) -> Path:
        """The folder that the module is imported from."""
        folders = self.file.parents
        return folders[0 if self.archived else min(self.depth, len(folders) - 1)]

    @property
    def path(self) -> str:
        """The file's path below `root`, with slashes."""
        return self.file.relative_to(self.root).as_posix()

    @property
    def archived(self) -> bool:
        """Whether the file is an archive that contains the module."""
        return self.file.suffix not in CODE


def code_files(names: Iterable[str]) -> dict[str, Path]:
    """Return the files that the code of some modules consists of: name -> path.

    Args:
        names: dotted names of modules that are imported. Those of the standard library, of
            `LIBRARIES`, and those without a file are left out.
    """
    waiting = [module for module in map(find_module, names) if module and not _is_library(module)]
    found: dict[str, Path] = {}
    seen = set(waiting)
    while waiting:
        module = waiting.pop()
        new = {name: path for name, path in _files_of(module).items() if name not in found}
        found |= new
        followed = set(filter(None, map(_locate, _imported(new)))) - seen
        waiting += sorted(followed)
        seen |= followed
    return found


def find_module(name: str) -> Module | None:
    """Return an imported module with its file; None if it has no file, as in a notebook."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return _module(name, file) if file else None


@cache
def provider(module: Module) -> Distribution | None:
    """Return the installed distribution whose list of files contains a module."""
    if module.archived:
        return None
    listed = f"\n{module.path},"
    for distribution in distributions(path=[str(module.root)]):
        if listed in f"\n{distribution.read_text('RECORD') or ''}":
            return distribution
    return None


def package_of(name: str) -> tuple[str, str]:
    """Return the installed distribution that provides an imported module, and its version.

    A module that no distribution provides gives its top-level name, without a version.
    """
    module = find_module(name)
    distribution = provider(module) if module else None
    if distribution is None:
        return name.partition(".")[0], ""
    return distribution.name, distribution.version


def _module(name: str, file: str) -> Module | None:
    """Return a module; its file is the archive that contains it if it is in one."""
    path = Path(file).absolute()
    existing = next((one for one in (path, *path.parents) if one.exists()), path)
    return Module(name, existing) if existing.is_file() else None


def _is_library(module: Module) -> bool:
    """Return whether a module is not followed."""
    top = module.name.partition(".")[0]
    if module.name.startswith(OWN_PLUGINS):
        return False
    return top in LIBRARIES or top in sys.stdlib_module_names - {"__main__"}


def _files_of(module: Module) -> dict[str, Path]:
    """Return the files of a module's distribution or package: name -> path."""
    if module.name.startswith(OWN_PLUGINS) or module.archived:
        return {module.path: module.file}
    distribution = provider(module)
    if distribution is not None:
        listed = [file for file in distribution.files or () if _counts(file, CODE | DATA)]
        located = {file.as_posix(): Path(str(file.locate())) for file in listed}
        return {name: path for name, path in located.items() if path.is_file()}
    package = _package(module)
    if package is None:
        return {module.path: module.file}
    return {path.relative_to(module.root).as_posix(): path for path in _below(package)}


def _package(module: Module) -> Path | None:
    """Return the folder of a module's top-level package; None for a module outside packages."""
    folders = module.file.parents[: module.depth]
    packages = [folder for folder in folders if any(folder.glob("__init__.*"))]
    return packages[-1] if packages else None


def _below(package: Path) -> Iterator[Path]:
    """Yield the files of a package on disk, those of linked folders included."""
    entered: set[str] = set()
    for folder, folders, files in os.walk(package, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered or set(folders) >= RESULTS:
            folders.clear()
            continue
        entered.add(real)
        inside = PurePath(folder).relative_to(package)
        suffixes = CODE if WRITTEN & set(inside.parts) else CODE | DATA
        for name in files:
            if _counts(inside / name, suffixes):
                yield Path(folder, name)


def _counts(file: PurePath, suffixes: frozenset[str]) -> bool:
    """Return whether a file of a package counts: no cache, metadata or hidden file."""
    hidden = any(
        part.startswith(".") or part == "__pycache__" or part.endswith((".dist-info", ".egg-info"))
        for part in file.parts
    )
    return file.suffix in suffixes and not hidden


def _imported(files: Mapping[str, Path]) -> set[str]:
    """Return the absolute names of all modules that files import."""
    names: set[str] = set()
    for file, path in files.items():
        package = file.rpartition("/")[0].replace("/", ".")
        names.update(_absolute(name, package) for name in digest_of(path).imports)
    return names


def _absolute(imported: str, package: str) -> str:
    """Return the absolute name of an import statement's module; empty if it is outside."""
    try:
        return resolve_name(imported, package) if imported.startswith(".") else imported
    except ImportError:
        return ""


def _locate(name: str) -> Module | None:
    """Return the module of that name if it is a plugin of ours or no installed package has it."""
    for prefix in OWN_PLUGINS:
        if name.startswith(prefix):
            return find_module(".".join(name.split(".")[: prefix.count(".") + 1]))
    top = name.partition(".")[0]
    if not top or top in LIBRARIES or top in sys.stdlib_module_names:
        return None
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    module = _module(top, spec.origin) if spec.has_location and spec.origin else None
    if module is None and spec.submodule_search_locations:
        module = _in_namespace(name, list(spec.submodule_search_locations))
    return module if module is not None and _is_loose(module) else None


def _in_namespace(name: str, locations: Iterable[str]) -> Module | None:
    """Return the first module with a file on the way to a name in a package without `__init__`."""
    parts = name.split(".")
    for length in range(2, len(parts) + 1):
        for location in locations:
            base = Path(location, *parts[1:length])
            for file in (base / "__init__.py", base.with_suffix(".py")):
                if file.is_file():
                    return Module(".".join(parts[:length]), file.absolute())
    return None


@cache
def _is_loose(module: Module) -> bool:
    """Return whether a module is outside the standard library and installed distributions."""
    standard = Path(sysconfig.get_path("stdlib"))
    installed = {"site-packages", "dist-packages"} & set(module.file.parts)
    return not installed and standard not in module.file.parents and provider(module) is None
