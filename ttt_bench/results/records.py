"""The JSON files of a cell as records: every field that is read has its type checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from ttt_bench.errors import DamagedError
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.stored.sealed import read

MANIFEST = "manifest.json"
ATTEMPTS = "attempts.json"
REMEDY = "`ttt-bench run` sets it aside and computes it again"
MISPLACED = "move its folder back, or `ttt-bench results verify --set-aside` moves it away"
Setting = StrictInt | float | StrictStr | StrictBool | None
SEALED_SINCE = 3
"""The first schema version in which all manifests have digests."""


class Manifest(BaseModel):
    """The fields of `manifest.json` that are read; only state and version are in all of them.

    Attributes:
        files: name -> digest of every file that the manifest vouches for.
    """

    model_config = ConfigDict(extra="allow")

    state: Literal["done", "diverged", "failed", "not_applicable"]
    schema_version: StrictInt
    reason: StrictStr | None = None
    pair: StrictStr = ""
    method: StrictStr = ""
    control: StrictStr = ""
    hparams: StrictStr = ""
    settings: StrictStr = ""
    preset: StrictStr = ""
    protocol: StrictStr = ""
    data_variant: StrictStr = ""
    seed: StrictInt = 0
    steps: StrictInt = 0
    config: StrictStr = ""
    comparison: StrictStr | None = None
    source_model: StrictStr | None = None
    classes: list[StrictStr] = []
    notices: list[StrictStr] = []
    scoring: dict[str, Any] = {}
    optimiser: dict[str, Setting | dict[str, float]] | None = None
    options: dict[str, Any] = {}
    tuned: dict[str, Any] | None = None
    configuration: dict[str, Any] = {}
    request: dict[str, Any] = {}
    contract: dict[str, Any] | None = None
    network_contract: dict[str, Any] | None = None
    provenance: dict[str, Any] = {}
    files: dict[str, StrictStr] = {}


class Attempts(BaseModel):
    """The content of `attempts.json`."""

    model_config = ConfigDict(extra="forbid")

    finished: StrictStr | None = None
    attempts: list[dict[str, Any]] = []

    @model_validator(mode="after")
    def _has_a_field(self) -> Self:
        if not {"finished", "attempts"} & self.model_fields_set:
            raise ValueError("neither `finished` nor `attempts`")
        return self


def is_file(path: Path) -> bool:
    """Return whether a file exists and is no folder.

    Raises:
        DataError: its folder cannot be read.
    """
    with explained_reading(path):
        return path.is_file()


def read_manifest(folder: Path, remedy: str = REMEDY) -> dict[str, Any]:
    """Return the manifest of a folder without its digest.

    Args:
        folder: the folder of a cell or a measurement.
        remedy: what to do about a damaged file, for the end of the message.

    Raises:
        DamagedError: it is missing, damaged, or belongs to another folder.
        DataError: it cannot be read.
    """
    path = folder / MANIFEST
    if not is_file(path):
        raise DamagedError(path, "it is missing", remedy)
    manifest = read(path, Manifest, remedy, _must_have_digest)
    config = manifest.get("config", "")
    if config and not folder.name.endswith(f"-{config}"):
        raise DamagedError(path, f"it belongs to the cell {config}", MISPLACED)
    return manifest


def _must_have_digest(manifest: Mapping[str, Any]) -> bool:
    return "files" in manifest or manifest["schema_version"] >= SEALED_SINCE
