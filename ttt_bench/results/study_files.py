"""The studies of a results folder: which cells belong to which arm.

`studies/NAME-KEY.json` has the declaration of a study and, for each arm, the hashes of its cells.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ttt_bench.designs.study import Arm, Study
from ttt_bench.errors import DamagedError
from ttt_bench.util.input.validation import Strict
from ttt_bench.util.quarantine import set_damaged_aside
from ttt_bench.util.stored import sealed
from ttt_bench.util.text import short_name

FOLDER = "studies"
REMEDY = "`ttt-bench study` writes it again"


class ArmFile(Strict):
    """An arm of a study.

    Attributes:
        label: its label in the declaration.
        cells: the hashes of its cells, with those of Base.
    """

    label: str
    cells: tuple[str, ...]


class StudyFile(Strict):
    """A study of a results folder.

    Attributes:
        study: its declaration.
        pair: the pair, without the shifts that arms add.
        key: a hash that is equal for runs that differ in their seeds alone.
        arms: the arms that apply to the pair.
    """

    study: Study
    pair: str
    key: str
    arms: tuple[ArmFile, ...]

    @property
    def slug(self) -> str:
        """Return a name for files and anchors, unique in a results folder."""
        return short_name(f"{self.study.name}-{self.pair.replace(':', '+')}-{self.key[:6]}")

    @property
    def cells(self) -> frozenset[str]:
        """Return the hashes of all cells."""
        return frozenset(cell for arm in self.arms for cell in arm.cells)

    def arm(self, label: str) -> Arm:
        """Return the declaration of an arm."""
        return next(arm for arm in self.study.all_arms if arm.label == label)


def write_study(results: Path, new: StudyFile, notice: Callable[[str], None]) -> Path:
    """Store a study, and return the path.

    Cells of other seeds that an earlier run of the same study has stored are kept. A damaged file
    is set aside.

    Args:
        results: the results folder.
        new: the study.
        notice: called with a message about a damaged file.

    Raises:
        BenchError: the results folder cannot be written.
    """
    path = results / FOLDER / f"{short_name(new.study.name)}-{new.key}.json"
    old = None
    try:
        old = read_study(path) if path.exists() else None
    except DamagedError as error:
        notice(set_damaged_aside(error, results))
    joined = joined_studies(old, new) if old is not None and old.study == new.study else new
    sealed.write(path, joined.model_dump(mode="json"), "choose another folder with --results")
    return path


def study_content(study: StudyFile) -> bytes:
    """Return the content of a study's file."""
    return sealed.content(study.model_dump(mode="json"))


def read_studies(results: Path) -> tuple[list[StudyFile], list[str]]:
    """Return the studies of a results folder by name, and a line per damaged file."""
    found: list[StudyFile] = []
    problems: list[str] = []
    for path in sorted((results / FOLDER).glob("*.json")):
        try:
            found.append(read_study(path))
        except DamagedError as error:
            problems.append(str(error))
    return found, problems


def read_study(path: Path) -> StudyFile:
    """Return the study in a file.

    Raises:
        DamagedError: the file is damaged.
        DataError: it cannot be read.
    """
    return StudyFile.model_validate(sealed.read(path, StudyFile, REMEDY))


def joined_studies(old: StudyFile, new: StudyFile) -> StudyFile:
    """Return a study with the cells of two files of it, those of the first one first."""
    before = {arm.label: arm.cells for arm in old.arms}
    arms = [
        ArmFile(label=a.label, cells=tuple(dict.fromkeys((*before.get(a.label, ()), *a.cells))))
        for a in new.arms
    ]
    return new.model_copy(update={"arms": tuple(arms)})
