"""Frozen records, closed choices, and validation errors in one line each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationError,
)
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from ttt_bench.errors import BenchError, unknown
from ttt_bench.util.paths import user_path
from ttt_bench.util.problems import raise_problems
from ttt_bench.util.store.address import results_path, shown

_NOT_ALLOWED = "not_allowed"


class Strict(BaseModel):
    """A frozen record; a field that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


def _parsed_by(parse: Callable[[str | os.PathLike[str]], Path]) -> BeforeValidator:
    """Return a validator that turns a text or path into a path."""

    def parsed(value: Any) -> Any:
        if not isinstance(value, str | os.PathLike):
            return value
        try:
            return parse(value)
        except BenchError as error:
            raise PydanticCustomError(_NOT_ALLOWED, "{message}", {"message": str(error)}) from error

    return BeforeValidator(parsed)


UserPath = Annotated[Path, _parsed_by(user_path)]
"""A path as a person writes it; see `ttt_bench.util.paths.user_path`."""
ResultsPath = Annotated[
    Path, _parsed_by(results_path), PlainSerializer(shown, return_type=str, when_used="json")
]
"""A results folder or its URL; see `ttt_bench.util.store.address.results_path`."""

RecordT = TypeVar("RecordT", bound=BaseModel)


def validated(
    record: type[RecordT],
    values: Mapping[str, Any],
    place: Callable[[str], str],
    *,
    whole: str = "",
) -> RecordT:
    """Return `record(**values)`; pydantic's errors become one line each.

    Args:
        record: the class to make.
        values: field -> value.
        place: returns how messages call a field, given its name, or `section.name`.
        whole: how messages about no single field begin; empty if they need no place.

    Raises:
        BenchError: a field is unknown (with the nearest names), or a value is not allowed.
    """
    wrong = [
        f"{place(field)}: takes a number, got {value!r}"
        for field, value in _booleans(record, values)
    ]
    try:
        made = record(**values)
    except ValidationError as error:
        wrong += problems_of(error, record, place, whole=whole)
        raise BenchError("\n".join(wrong)) from error
    raise_problems(wrong)
    return made


def problems_of(
    error: ValidationError,
    record: type[BaseModel],
    place: Callable[[str], str],
    *,
    whole: str = "",
) -> list[str]:
    """Return pydantic's errors in one line each.

    Args:
        error: the error.
        record: the class that was to be made.
        place, whole: as in `validated`.
    """
    return [
        _problem(record, details, place) if details["loc"] else _of_whole(whole, details)
        for details in _causes(error)
    ]


def shortened(value: Any) -> str:
    """Return a value as an error message quotes it, in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _booleans(
    record: type[BaseModel], values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, bool]]:
    """Yield the fields of numbers that were given true or false, which pydantic takes as 1 or 0."""
    hints = get_type_hints(record)
    for name in values.keys() & hints.keys():
        value, kinds = values[name], set(_kinds(hints[name]))
        inner = hints[name]
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            yield from _booleans(inner, value, f"{prefix}{name}.")
        elif kinds & {int, float} and not kinds & {bool, Any}:
            entries = value if isinstance(value, list | tuple) else [value]
            yield from ((f"{prefix}{name}", one) for one in entries if isinstance(one, bool))


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation consists of."""
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _kinds(part)


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """Return the errors without those that follow from others: a list loses its invalid entries."""
    found = error.errors()
    lists = {details["loc"][:-1] for details in found}
    return [d for d in found if d["type"] != "too_short" or d["loc"] not in lists]


def _message(details: ErrorDetails) -> str:
    return details["msg"].removeprefix("Value error, ")


def _of_whole(whole: str, details: ErrorDetails) -> str:
    return f"{whole}: {_message(details)}" if whole else _message(details)


def _problem(record: type[BaseModel], details: ErrorDetails, place: Callable[[str], str]) -> str:
    path = details["loc"]
    # without positions in lists: the message quotes the entry
    field = ".".join(part for part in path if isinstance(part, str))
    message = _message(details)
    if details["type"] == "extra_forbidden":
        known = _record_at(record, path[:-1]).model_fields
        return f"{place(field)}: {unknown('setting', str(path[-1]), known)}"
    if details["type"] == "too_short":
        return f"{place(field)}: give at least one value"
    whole_table = details["type"] == "value_error" and isinstance(details["input"], Mapping)
    if whole_table or details["type"] in ("missing", _NOT_ALLOWED):
        return f"{place(field)}: {message}"
    return f"{place(field)}: {message}, got {shortened(details['input'])}"


def _record_at(record: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    """Return the class of the nested record that a path of field names and positions leads to."""
    for part in path:
        field = record.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:  # else a key of a table
            kinds = _kinds(field.annotation)
            records = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
            record = records[0] if records else record
    return record
