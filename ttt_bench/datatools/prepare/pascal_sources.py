"""Find and copy the files of listed images in raw sources, which are archives or folders."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ttt_bench.datatools.prepare.archives import Member, is_archive, list_members, unpack
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import replacing
from ttt_bench.util.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A kind of file, with one file per image.

    Attributes:
        inside: the folder of these files in the source; empty if any folder may contain them.
        suffix: the end of their names, after the image's id.
        target: their folder in the data set.
        words: a description of the source, for messages.
    """

    inside: str
    suffix: str
    target: str
    words: str

    def destination(self, name: str) -> str | None:
        """Return the path in the data set of a source's file; None if it is another file."""
        *above, base = re.split(r"[/\\]", name)
        if (
            not base.endswith(self.suffix)
            or base.startswith(".")
            or (self.inside and self.inside not in above[-1:])
        ):
            return None
        return f"{self.target}/{base}"

    def is_near(self, name: str) -> bool:
        """Return whether a source's file has a name that differs in case alone."""
        folded = replace(self, inside=self.inside.casefold(), suffix=self.suffix.casefold())
        return self.destination(name) is None and folded.destination(name.casefold()) is not None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The files of one kind in a source: `members` of an archive, or `files` of a folder.

    Attributes:
        near: a file whose name differs in case alone from those that are wanted, or "".
    """

    source: Path
    wanted: Wanted
    members: tuple[Member, ...] = ()
    files: tuple[Path, ...] = ()
    near: str = ""

    @property
    def size(self) -> int:
        """The bytes of all files."""
        packed = sum(member.size for member in self.members)
        return packed + sum(path.stat().st_size for path in self.files)

    def require(self, ids: Collection[str]) -> None:
        """Raise an error unless every image has a file.

        Raises:
            DataError: the message counts the missing files and names one.
        """
        names = [*(member.name for member in self.members), *map(str, self.files)]
        there = {re.split(r"[/\\]", name)[-1].removesuffix(self.wanted.suffix) for name in names}
        absent = sorted(set(ids) - there)
        if absent:
            example = f"{self.wanted.inside or '...'}/{absent[0]}{self.wanted.suffix}"
            near = f", but has {self.near}; upper and lower case count" if self.near else ""
            raise DataError(
                f"{self.source}: lacks {len(absent)} of the {len(ids)} files of the listed images, "
                f"such as {example} of {absent[0]!r}{near}. Wanted: {self.wanted.words}"
            )

    def write(self, folder: Path, progress: Progress) -> None:
        """Write the files into a data set's folder; existing files of the same size are kept."""
        if self.members:
            unpack(self.source, self.members, self.wanted.destination, folder, progress)
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
    """Return the files of the listed images in an archive or a folder.

    Raises:
        DataError: the source is neither, the archive is incomplete or harmful, or two files of an
            image in a folder differ.
    """

    def listed(name: str) -> bool:
        target = wanted.destination(name)
        if target is None:
            return False
        return target.removeprefix(f"{wanted.target}/").removesuffix(wanted.suffix) in ids

    if source.is_dir():
        paths = [path for path in sorted(source.rglob("*")) if path.is_file()]
        files = [path for path in paths if listed(str(path))]
        near = (str(path) for path in paths if wanted.is_near(str(path)))
        return Found(source=source, wanted=wanted, files=_one_per_image(files), near=next(near, ""))
    if not source.exists() or not is_archive(source):
        raise DataError(
            f"{source}: neither a folder nor an archive of a known format. Wanted: {wanted.words}"
        )
    members = list_members(source, progress)
    near = (member.name for member in members if wanted.is_near(member.name))
    return Found(
        source=source,
        wanted=wanted,
        members=tuple(member for member in members if listed(member.name)),
        near=next(near, ""),
    )


def _one_per_image(files: Iterable[Path]) -> tuple[Path, ...]:
    """Return the first file of each name; raise an error if another one differs from it."""
    kept: dict[str, Path] = {}
    for path in files:
        first = kept.setdefault(path.name, path)
        if first != path and not filecmp.cmp(first, path, shallow=False):
            raise DataError(
                f"{first} and {path} differ, but only one of them can be used; give the folder "
                "that contains the right one"
            )
    return tuple(kept.values())
