"""Which files the source models of a results folder were trained on, so that changed files are noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.pairwork import PairWork

NAME = "data.json"
"""Beside the checkpoints: what was opened -> the fingerprint of what it gave."""


def check_unchanged(folder: Path, work: PairWork) -> None:
    """Note the source data of a pair, or refuse them where they are not those of the models in this folder.

    Embedded domains are made of the harness's code, so they are not noted.

    Raises:
        BenchError: names both fingerprints, and what can be done.
    """
    source = work.source
    if work.pair.source.embedded:
        return
    height, width = source.size
    label = f"{source.domain} at {height}x{width}, variant {work.variant.name}"
    label += f", classes of {work.labels.name}" if work.labels else ""
    known = _read(folder / NAME)
    before = known.setdefault(label, source.fingerprint)
    if before != source.fingerprint:
        raise BenchError(
            f"the data of {label} have the fingerprint {source.fingerprint}, but the source models in {folder} were "
            f"trained on data with the fingerprint {before}: put the files back as they were, or train anew in another "
            "folder (--results)"
        )
    _write(folder / NAME, known)


def _read(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is damaged ({error}); delete it and run again") from error


def _write(path: Path, known: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise BenchError(f"{path} cannot be written ({error.strerror}); name another --results") from error
    finally:
        temporary.unlink(missing_ok=True)
