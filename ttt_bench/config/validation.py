"""Frozen records, and pydantic's complaints as one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ttt_bench.errors import BenchError, unknown


class Strict(BaseModel):
    """A frozen record in which a name that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Record = TypeVar("Record", bound=BaseModel)


def validated(record: type[Record], values: Mapping[str, Any], prefix: str) -> Record:
    """`record(**values)`, with pydantic's complaints as one line each.

    Raises:
        BenchError: a name that is not declared (with the nearest), or a value out of range.
    """
    try:
        return record(**values)
    except ValidationError as error:
        raise BenchError("; ".join(_complaints(record, error, prefix))) from error


def _complaints(record: type[BaseModel], error: ValidationError, prefix: str) -> Iterable[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            owner = _record_at(record, problem["loc"][:-1])
            yield f"{prefix}{place}: {unknown('setting', str(problem['loc'][-1]), owner.model_fields)}"
        else:
            shown = (
                f", got {problem['input']!r}"
                if problem["type"] != "missing" and problem["loc"]
                else ""
            )
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{prefix}{place}: {message}{shown}" if place else message


def _record_at(record: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    for part in path:
        annotation = record.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            record = annotation
    return record
