"""Files of listed images in raw sources, which are archives or folders."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.datatools.prepare.archives import Member, is_archive, list_members, unpack
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import replacing
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class Wanted:
    """A kind of file, one an image.

    Attributes:
        inside: the folder that the source has them in; empty where that may be any.
        suffix: what their names end with, after the image's id.
        target: the folder, in the data set, that they belong to.
        words: what is wanted, where it is not there.
    """

    inside: str
    suffix: str
    target: str
    words: str

    def place(self, name: str) -> str | None:
        """Where a file of a source belongs in the data set."""
        *above, base = re.split(r"[/\\]", name)
        if (
            not base.endswith(self.suffix)
            or base.startswith(".")
            or (self.inside and self.inside not in above[-1:])
        ):
            return None
        return f"{self.target}/{base}"


@dataclass(frozen=True)
class Found:
    """The files of a kind that a source has for some images: `members` of an archive, or `files`
    of a folder.
    """

    source: Path
    wanted: Wanted
    members: tuple[Member, ...]
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(member.size for member in self.members) + sum(
            path.stat().st_size for path in self.files
        )

    def require(self, ids: Collection[str]) -> None:
        """See that every image has one.

        Raises:
            DataError: some have none; says how many, names one and what is wanted.
        """
        names = [*(member.name for member in self.members), *map(str, self.files)]
        there = {re.split(r"[/\\]", name)[-1].removesuffix(self.wanted.suffix) for name in names}
        absent = sorted(set(ids) - there)
        if absent:
            example = f"{self.wanted.inside or '...'}/{absent[0]}{self.wanted.suffix}"
            raise DataError(
                f"{self.source}: lacks {len(absent)} of the {len(ids)} files of the listed images, such as {example}. "
                f"Wanted: {self.wanted.words}"
            )

    def write(self, folder: Path, progress: Progress) -> None:
        """Put them into a data set's folder; those that are there in their size already are left
        alone.
        """
        if self.members:
            unpack(self.source, self.members, self.wanted.place, folder, progress)
            return
        (folder / self.wanted.target).mkdir(parents=True, exist_ok=True)
        with progress.bar(f"copying {self.wanted.target}", len(self.files)) as bar:
            for path in self.files:
                target = folder / self.wanted.target / path.name
                if not (target.is_file() and target.stat().st_size == path.stat().st_size):
                    with replacing(target) as temporary:
                        shutil.copyfile(path, temporary)
                bar.advance()


def find_files(source: Path, wanted: Wanted, ids: Collection[str], progress: Progress) -> Found:
    """Look through an archive or a folder.

    Raises:
        DataError: it is neither, or the archive is incomplete or harmful.
    """

    def listed(name: str) -> bool:
        target = wanted.place(name)
        return (
            target is not None
            and target.removeprefix(f"{wanted.target}/").removesuffix(wanted.suffix) in ids
        )

    if source.is_dir():
        paths = sorted(path for path in source.rglob(f"*{wanted.suffix}") if listed(str(path)))
        return Found(source, wanted, (), tuple(paths))
    if not source.exists() or not is_archive(source):
        raise DataError(
            f"{source}: neither a folder nor an archive that is known. Wanted: {wanted.words}"
        )
    members = [member for member in list_members(source, progress) if listed(member.name)]
    return Found(source, wanted, tuple(members), ())
