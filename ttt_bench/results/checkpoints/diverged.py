"""Source trainings that diverged: `checkpoints/<hash>.diverged.json` in place of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.errors import DivergedError
from ttt_bench.util.input.validation import Strict
from ttt_bench.util.stored import sealed

SUFFIX = ".diverged.json"
"""End of the name of the file."""
REMEDY = "the next run sets it aside and trains again"


class Diverged(Strict):
    """The content of the file.

    Attributes:
        reason: what diverged, and at which iteration.
        iteration: the iteration.
    """

    reason: str
    iteration: int


def diverged_path(checkpoint: Path) -> Path:
    """Return the file that states that the training of a checkpoint diverged."""
    return checkpoint.with_suffix(SUFFIX)


def write_diverged(checkpoint: Path, error: DivergedError) -> None:
    """State that the training of a checkpoint diverged.

    Raises:
        BenchError: the file cannot be written.
    """
    found = Diverged(reason=str(error), iteration=error.step)
    sealed.write(diverged_path(checkpoint), found.model_dump())


def read_diverged(path: Path) -> DivergedError:
    """Return the error with which a training diverged.

    Raises:
        DamagedError: the file is damaged.
        DataError: it cannot be read.
    """
    found = Diverged.model_validate(sealed.read(path, Diverged, REMEDY))
    return DivergedError(found.reason, found.iteration)
