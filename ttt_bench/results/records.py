"""The JSON files of a cell as records: every field that is read has its type checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from ttt_bench.errors import DamagedError
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.os_errors import explained_reading

MANIFEST = "manifest.json"
ATTEMPTS = "attempts.json"
REMEDY = "`ttt-bench run` sets it aside and computes it again"


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow")


class Manifest(_Record):
    """The fields of `manifest.json` that are read; only state and version are in all of them.

    Attributes:
        files: name -> digest of every file that the manifest vouches for.
        digest: digest of the manifest without this field.
    """

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
    optimiser: dict[str, StrictInt | float | StrictStr | StrictBool | None] | None = None
    options: dict[str, Any] = {}
    tuned: dict[str, Any] | None = None
    configuration: dict[str, Any] = {}
    contract: dict[str, Any] | None = None
    provenance: dict[str, Any] = {}
    files: dict[str, StrictStr] = {}
    digest: StrictStr | None = None


class Attempts(_Record):
    """The content of `attempts.json`."""

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


def read_json(path: Path, model: type[BaseModel], remedy: str = REMEDY) -> dict[str, Any]:
    """Return a JSON file that holds a record.

    Args:
        path: the file.
        model: the record.
        remedy: what to do about a damaged file, for the end of the message.

    Raises:
        DamagedError: the file is not JSON, or a field is missing or of another type.
        DataError: the file does not exist or cannot be read.
    """
    with explained_reading(path):
        content = path.read_bytes()
    try:
        value = json.loads(content)
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise DamagedError(path, f"{field}: {first['msg']}", remedy) from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, str(error) or "nested too deeply", remedy) from error
    return value


def sealed(manifest: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    """Return a manifest with the digests of the cell's files and its own."""
    whole = {**manifest, "files": files}
    return {**whole, "digest": _digest(whole)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a cell's folder, checked against itself and the folder's name.

    Raises:
        DamagedError: it is missing, damaged, or belongs to another folder.
        DataError: it cannot be read.
    """
    path = folder / MANIFEST
    if not is_file(path):
        raise DamagedError(path, "it is missing", REMEDY)
    manifest = read_json(path, Manifest)
    # earlier versions wrote neither
    if ("digest" in manifest or "files" in manifest) and manifest.get("digest") != _digest(
        manifest
    ):
        raise DamagedError(path, "its content differs from its digest", REMEDY)
    config = manifest.get("config", "")
    if config and not folder.name.endswith(f"-{config}"):
        raise DamagedError(path, f"it belongs to the cell {config}", REMEDY)
    return manifest


def _digest(manifest: dict[str, Any]) -> str:
    return hash_of({key: value for key, value in manifest.items() if key != "digest"}, 16)
