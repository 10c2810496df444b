"""Claims on the units of a results folder, by which no command changes what a run is writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ttt_bench.results.checkpoints.diverged import SUFFIX as DIVERGED
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.results.maintenance.contents import CHECKPOINTS, TENSORS
from ttt_bench.results.records import ATTEMPTS
from ttt_bench.results.timed_work import TIMES
from ttt_bench.util.claims import CLAIMS, Claims, Owner


def claims(root: Path) -> list[Claims]:
    """Return the folders of claims of a results folder: those of its runs and of its trainings."""
    folders = [root, *(folder for folder in [root / CHECKPOINTS] if folder.is_dir())]
    return [Claims(folder / CLAIMS, hint="check the permissions") for folder in folders]


def claim_name(unit: Path) -> str:
    """Return the name under which runs claim the unit of a file or folder."""
    name = unit.parent.name if unit.name == ATTEMPTS else unit.name
    for end in (PARTIAL, TENSORS, TIMES, DIVERGED):
        name = name.removesuffix(end)
    return name.removeprefix(".")


@contextmanager
def claimed(root: Path, name: str) -> Iterator[Owner | None]:
    """Claim a unit for the block, and yield None; or yield the owner who has it.

    Raises:
        BenchError: the claim cannot be written.
    """
    with ExitStack() as stack:
        owners = [stack.enter_context(one.attempt(name)) for one in claims(root)]
        yield next((owner for owner in owners if owner is not None), None)
