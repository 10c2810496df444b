"""`data prepare taskonomy` from archives `{building}_{domain}.tar`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.data.taskonomy.index import PARTS
from ttt_bench.data.taskonomy.splits import EXCLUDED
from ttt_bench.datatools.prepare.archives import Member, Place, announced, list_members, unpack
from ttt_bench.datatools.prepare.writing import draft, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class _Job:
    archive: Path
    building: str
    domain: str
    target: Path

    def place(self, name: str) -> str | None:
        """The file's own name, if it is a frame of the domain."""
        base = re.split(r"[/\\]", name)[-1]
        suffix = "segmentsemantic" if self.domain == "segment_semantic" else self.domain
        return (
            base
            if re.fullmatch(rf"point_\d+_view_\d+_domain_({suffix}|{self.domain})\.png", base)
            else None
        )


def unpack_archives(archives: Sequence[Path], folder: Path, progress: Progress) -> int:
    """Unpack archives into a folder `taskonomy/`, as `{domain}/{building}/`, or as it has them
    already.

    A building's domain appears when it is whole. Those that are there are skipped, so that the same
    call goes on after an interruption. All archives are looked into, and room is asked for, before
    anything is written.

    Returns:
        How many archives were unpacked.

    Raises:
        DataError: an archive is not one of these, incomplete or harmful; no room; or the folder
        cannot be written.
    """
    jobs = [job for job in (_job(path, folder) for path in archives) if not _skipped(job, progress)]
    contents = [_frames(job, list_members(job.archive, progress)) for job in jobs]
    needed = sum(announced(members, job.place) for job, members in zip(jobs, contents, strict=True))
    require_space(folder, needed, "unpacking")
    for job, members in zip(jobs, contents, strict=True):
        recipe = {"archive": job.archive.name, "bytes": job.archive.stat().st_size}
        with draft(job.target, recipe) as partial:
            unpack(job.archive, members, job.place, partial, progress)
    return len(jobs)


def find_archives(paths: Sequence[Path]) -> list[Path]:
    """The archives among these paths; of a folder, those in it.

    Raises:
        DataError: a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path} holds no {{building}}_{{domain}}.tar")
        found += inside
    return found


def _job(archive: Path, folder: Path) -> _Job:
    domains = [name for names in PARTS.values() for name in names]
    for domain in domains:
        building = archive.name.removesuffix(f"_{domain}.tar")
        if building not in ("", archive.name):
            inside = folder / domain
            # a folder that omnidata-tools has filled is one level deeper
            return _Job(archive, building, domain, _holder(inside) / building)
    raise DataError(
        f"{archive}: not named {{building}}_{{domain}}.tar with one of the domains {', '.join(domains)}; only these "
        "are used"
    )


def _holder(domain: Path) -> Path:
    return domain / "taskonomy" if (domain / "taskonomy").is_dir() else domain


def _skipped(job: _Job, progress: Progress) -> bool:
    if job.building in EXCLUDED:
        progress.notice(f"{job.archive.name}: {EXCLUDED[job.building]}")
        return True
    if job.target.is_dir():
        progress.notice(f"{job.target} is there already; {job.archive.name} is skipped")
        return True
    return False


def _frames(job: _Job, members: list[Member]) -> list[Member]:
    place: Place = job.place
    frames = [member for member in members if place(member.name) is not None]
    if not frames:
        raise DataError(f"{job.archive}: holds no frame of {job.domain}; download it again")
    return frames
