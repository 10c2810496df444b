"""Which data the source models of a folder were trained on, so that files that have changed since
are noticed.

A source model is found by what it depends on, the fingerprint of its data among them. So files that
have changed would give another model beside the first one, and a table could hold numbers of both.
"""

from __future__ import annotations

import json
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.util import tensor_file
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.hashing import hash_of

NAME = "data.json"
"""Beside the checkpoints: what was opened -> the fingerprint of what it gave."""


def changed(folder: Path, work: OpenedPair) -> str | None:
    """What is wrong where a pair's source data are not those of the models in this folder; None
    where they are.

    Raises:
        BenchError: a file in the folder is damaged.
    """
    if work.pair.source.embedded:  # such data follow from the code
        return None
    source = work.source
    before = _read(folder / NAME).get(_label(work))
    if before in (None, source.fingerprint) or not _models(folder, str(before)):
        return None
    return (
        f"the data of {_label(work)} have the fingerprint {source.fingerprint}, but the source models in {folder} were "
        f"trained on data with the fingerprint {before}: put the files back as they were, or train anew in another "
        "folder (--results)"
    )


def note(folder: Path, work: OpenedPair) -> None:
    """Remember what a pair's source models are trained on.

    Raises:
        BenchError: a file in the folder is damaged, or cannot be written.
    """
    if work.pair.source.embedded:
        return
    known = _read(folder / NAME)
    if known.get(_label(work)) != work.source.fingerprint:
        _write(folder / NAME, {**known, _label(work): work.source.fingerprint})


def _label(work: OpenedPair) -> str:
    """What decides a source's fingerprint, its files apart."""
    height, width = work.source.size
    label = f"{work.source.domain} at {height}x{width}, variant {work.variant.name}"
    # another table may have the same name
    return label + (
        f", classes of {work.labels.name} ({hash_of(work.labels.record(), 4)})"
        if work.labels
        else ""
    )


def _models(folder: Path, fingerprint: str) -> bool:
    """Whether anything was trained on data with this fingerprint and kept."""
    return any(
        tensor_file.description(path).get("data") == fingerprint
        for path in folder.glob("*.safetensors")
    )


def _read(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is damaged ({error}); delete it and run again") from error


def _write(path: Path, known: dict[str, str]) -> None:
    with atomic_file(path, "choose another folder with --results") as temporary:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
