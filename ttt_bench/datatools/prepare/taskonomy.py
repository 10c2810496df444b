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
class _Job:
    """An archive and the folder to which it is unpacked."""

    archive: Path
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
    found = [_job(path, folder) for path in archives]
    jobs = [job for job in found if not _skipped(job, progress)]
    contents = [(job, _frames(job, list_members(job.archive, progress))) for job in jobs]
    needed = sum(declared_size(members, job.destination) for job, members in contents)
    require_space(folder, needed, "unpacking")
    for job, members in contents:
        recipe = {"archive": job.archive.name, "bytes": job.archive.stat().st_size}
        with draft(job.target, recipe) as partial:
            unpack(job.archive, members, job.destination, partial, progress)
    return len(jobs)


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


def _job(archive: Path, folder: Path) -> _Job:
    domains = [name for names in PARTS.values() for name in names]
    for domain in domains:
        building = archive.name.removesuffix(f"_{domain}.tar")
        if building not in ("", archive.name):
            target = _buildings_folder(folder / domain) / building
            return _Job(archive=archive, building=building, domain=domain, target=target)
    raise DataError(
        f"{archive}: not named {{building}}_{{domain}}.tar with one of the domains "
        f"{', '.join(domains)}; give archives of these only"
    )


def _buildings_folder(domain: Path) -> Path:
    """Return the folder of a domain's buildings; omnidata-tools adds a level `taskonomy/`."""
    return domain / "taskonomy" if (domain / "taskonomy").is_dir() else domain


def _skipped(job: _Job, progress: Progress) -> bool:
    """Return whether an archive is not unpacked, with a notice of the reason."""
    if job.building in EXCLUDED:
        progress.notice(f"{job.archive.name}: {EXCLUDED[job.building]}")
        return True
    if job.target.is_dir():
        progress.notice(f"{job.target} exists already; {job.archive.name} is skipped")
        return True
    return False


def _frames(job: _Job, members: list[Member]) -> list[Member]:
    """Return the members that are frames of the domain."""
    frames = [member for member in members if job.destination(member.name) is not None]
    if not frames:
        raise DataError(f"{job.archive}: contains no frame of {job.domain}; download it again")
    return frames
