"""The data that the source models of a folder were trained on, in `checkpoints/data.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ttt_bench.util.input.validation import Strict
from ttt_bench.util.stored import sealed

NAME = "data.json"
"""The file next to the checkpoints."""
REMEDY = "the next run sets it aside and writes it again"


class TrainedData(Strict):
    """The content of the file.

    Attributes:
        fingerprints: label of the training data -> their fingerprint.
    """

    fingerprints: dict[str, str]


def read_trained_data(folder: Path) -> dict[str, str]:
    """Return label -> fingerprint of the training data in a folder of checkpoints.

    Raises:
        DamagedError: the file is damaged.
        DataError: it cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    return dict(sealed.read(path, TrainedData, REMEDY)["fingerprints"])


def write_trained_data(folder: Path, fingerprints: Mapping[str, str]) -> None:
    """Write the file of a folder of checkpoints.

    Raises:
        BenchError: it cannot be written.
    """
    sealed.write(folder / NAME, _record(fingerprints), "choose another folder with --results")


def trained_data_content(fingerprints: Mapping[str, str]) -> bytes:
    """Return the content of the file."""
    return sealed.content(_record(fingerprints))


def _record(fingerprints: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {"fingerprints": dict(fingerprints)}
