"""`data prepare taskonomy`: unpack archives `{building}_{domain}.tar`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.data.taskonomy.index import PARTS
from ttt_bench.data.taskonomy.splits import EXCLUDED
from ttt_bench.datatools.prepare.archives import Member, declared_size, list_members, unpack
from ttt_bench.datatools.prepare.writing import draft, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress


@dataclass(frozen=True, kw_only=True)
class _NamedArchive:
    """An archive and the folder to which it is unpacked."""

    path: Path
    building: str
    domain: str
    target: Path

    def destination(self, name: str) -> str | None:
        """Return the name of a frame's file without its folders; None for other files."""
        base = re.split(r"[/\\]", name)[-1]
        suffix = "segmentsemantic" if self.domain == "segment_semantic" else self.domain
        pattern = rf"point_\d+_view_\d+_domain_({suffix}|{self.domain})\.png"
        return base if re.fullmatch(pattern, base) else None


def unpack_archives(archives: Sequence[Path], folder: Path, progress: Progress) -> int:
    """Unpack archives into a folder `taskonomy/`, as `{domain}/{building}/` or its present layout.

    The folder of a building's domain appears when it is complete. Existing ones are skipped, so
    that the same call resumes after an interruption. All archives and the free space are checked
    before the first file is written.

    Returns:
        The number of archives that were unpacked.

    Raises:
        DataError: an archive has another name, is incomplete or harmful; or there is too little
            space.
        BenchError: a file cannot be written.
    """
    named = [_named(path, folder) for path in archives]
    wanted = [archive for archive in named if not _skipped(archive, progress)]
    contents = [
        (archive, _frames(archive, list_members(archive.path, progress))) for archive in wanted
    ]
    needed = sum(declared_size(members, archive.destination) for archive, members in contents)
    require_space(folder, needed, "unpacking")
    for archive, members in contents:
        recipe = {"archive": archive.path.name, "bytes": archive.path.stat().st_size}
        with draft(archive.target, recipe) as partial:
            unpack(archive.path, members, archive.destination, partial, progress)
    return len(wanted)


def find_archives(paths: Sequence[Path]) -> list[Path]:
    """Return these archives; a folder is replaced by the archives in it.

    Raises:
        DataError: a folder contains no archive.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not inside:
            raise DataError(
                f"{path} contains no {{building}}_{{domain}}.tar; give the folder of the archives"
            )
        found += inside
    return found


def _named(archive: Path, folder: Path) -> _NamedArchive:
    domains = [name for names in PARTS.values() for name in names]
    for domain in domains:
        building = archive.name.removesuffix(f"_{domain}.tar")
        if building != archive.name and building.strip("."):
            target = _buildings_folder(folder / domain) / building
            return _NamedArchive(path=archive, building=building, domain=domain, target=target)
    raise DataError(
        f"{archive}: not named {{building}}_{{domain}}.tar with one of the domains "
        f"{', '.join(domains)}; give archives of these only"
    )


def _buildings_folder(domain: Path) -> Path:
    """Return the folder of a domain's buildings; omnidata-tools adds a level `taskonomy/`."""
    return domain / "taskonomy" if (domain / "taskonomy").is_dir() else domain


def _skipped(archive: _NamedArchive, progress: Progress) -> bool:
    """Return whether an archive is not unpacked, with a notice of the reason."""
    if archive.building in EXCLUDED:
        progress.notice(f"{archive.path.name}: {EXCLUDED[archive.building]}")
        return True
    if archive.target.is_dir():
        progress.notice(f"{archive.target} exists already; {archive.path.name} is skipped")
        return True
    return False


def _frames(archive: _NamedArchive, members: list[Member]) -> list[Member]:
    """Return the members that are frames of the domain."""
    frames = [member for member in members if archive.destination(member.name) is not None]
    if not frames:
        raise DataError(f"{archive.path}: contains no frame of {archive.domain}; download it again")
    return frames
