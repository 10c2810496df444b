"""Frozen records, closed choices, and validation errors in one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from ttt_bench.errors import BenchError, unknown

_NOT_ALLOWED = "not_allowed"


class Strict(BaseModel):
    """A frozen record; a field that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class OneOf:
    """A constraint for `Annotated[str, OneOf(...)]`: the text must be one of a closed list.

    Attributes:
        kind: the noun for error messages, such as "protocol".
        names: the allowed values.
    """

    kind: str
    names: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        if name not in self.names:
            message = str(unknown(self.kind, name, self.names))
            raise PydanticCustomError(_NOT_ALLOWED, "{message}", {"message": message})
        return name


def allowed_values(annotation: Any) -> tuple[str, ...]:
    """Return the values that a `OneOf` in an annotation allows; empty if it contains no `OneOf`."""
    if get_origin(annotation) is Annotated:
        for constraint in annotation.__metadata__:
            if isinstance(constraint, OneOf):
                return constraint.names
    for part in get_args(annotation):
        if names := allowed_values(part):
            return names
    return ()


RecordT = TypeVar("RecordT", bound=BaseModel)


def validated(record: type[RecordT], values: Mapping[str, Any], prefix: str) -> RecordT:
    """Return `record(**values)`; pydantic's errors become one line each.

    Args:
        record: the class to make.
        values: field -> value.
        prefix: written before the name of a field in messages, such as "--".

    Raises:
        BenchError: a field is unknown (with the nearest names), or a value is not allowed.
    """
    try:
        return record(**values)
    except ValidationError as error:
        problems = [_problem(record, details, prefix) for details in _causes(error)]
        raise BenchError("; ".join(problems)) from error


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """Return the errors without those that follow from others: a list loses its invalid entries."""
    found = error.errors()
    lists = {details["loc"][:-1] for details in found}
    return [d for d in found if d["type"] != "too_short" or d["loc"] not in lists]


def _problem(record: type[BaseModel], details: ErrorDetails, prefix: str) -> str:
    path = details["loc"]
    place = ".".join(str(part) for part in path)
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        known = _record_at(record, path[:-1]).model_fields
        return f"{prefix}{place}: {unknown('setting', str(path[-1]), known)}"
    if not place or details["type"] == _NOT_ALLOWED:
        return message
    if details["type"] == "missing":
        return f"{prefix}{place}: {message}"
    return f"{prefix}{place}: {message}, got {details['input']!r}"


def _record_at(record: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    """Return the class of the nested record that a path of field names leads to."""
    for part in path:
        annotation = record.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            record = annotation
    return record
