"""Command-line options; those of a request are made from the fields of `Request`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from ttt_bench.config.merging import make_request
from ttt_bench.config.reading import parse_launcher_option, parse_setting, read_config_file
from ttt_bench.config.request import Request, choices
from ttt_bench.util.paths import user_path
from ttt_bench.util.store.address import results_path

REPEATABLE = ("pair", "set", "launcher_option")
"""Fields whose option may be given several times; other lists are joined by commas."""
SWEEP_FIELDS = (
    "methods",
    "pair",
    "seeds",
    "steps",
    "protocol",
    "control",
    "preset",
    "hparams",
    "tuned",
    "data_variant",
    "stream",
    "label_space",
    "set",
    "agreement",
    "device",
    "deterministic",
    "results",
    "data_root",
    "source_weights",
    "train_devices",
    "check",
    "threads",
)
"""Fields of a request whose options a command that runs sweeps takes."""
LAUNCH_FIELDS = ("workers", "launcher", "launcher_option", "shards")
"""Fields of a request that let other processes share the work of a command."""
AS_PATH: dict[str, Any] = {"parser": user_path}
"""Arguments of `typer.Option` and `typer.Argument` for files and folders."""
AS_RESULTS: dict[str, Any] = {"parser": results_path}
"""The same for results folders, which may be URLs."""
_PARSERS = {"results": AS_RESULTS}


def field_option(name: str) -> Any:
    """Return the option of a request's field, for use in `Annotated`."""
    field = Request.model_fields[name]
    text = [str(field.description)]
    if default := field.get_default(call_default_factory=True):
        text.append(f"Default: {_as_text(default)}.")
    if allowed := choices(name):
        text.append(f"Choices: {', '.join(allowed)}.")
    flag = f"--{name.replace('_', '-')}"
    if _types(name) == (bool,):
        flag += f"/--no-{name.replace('_', '-')}"
    how = _PARSERS.get(name, AS_PATH) if Path in _types(name) else {}
    return typer.Option(flag, help=" ".join(text), show_default=False, **how)


def _types(name: str) -> tuple[Any, ...]:
    """Return the types that a field's value may have."""
    annotation = _annotations()[name]
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


@cache
def _annotations() -> dict[str, Any]:
    return get_type_hints(Request)


def _as_text(value: Any) -> str:
    """Return a field's value as it is given on the command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


Json = Annotated[
    bool, typer.Option("--json", help="Print only a JSON array of objects to standard output.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what the launcher would start (slurm: the job script), and start nothing.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with these options; options of the command line take precedence. "
        "Default: no file.",
        show_default=False,
        **AS_PATH,
    ),
]
Sets = Annotated[list[str] | None, field_option("set")]
Results = Annotated[Path | None, field_option("results")]
ReportFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder to write to. Default: reports/NAME, with NAME of the results folder.",
        show_default=False,
        **AS_PATH,
    ),
]
DataRoot = Annotated[Path | None, field_option("data_root")]


def request_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these fields of a request, and `--config`.

    The decorated function takes the request as its first argument, `request`. Its other parameters
    become options of the command as usual.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:
            fields = {name: given.pop(name) for name in names}
            command(_request(given.pop("config"), fields), **given)

        _, *own = signature(command, eval_str=True).parameters.values()
        parameters = [
            *(parameter for parameter in own if parameter.default is Parameter.empty),
            *(_parameter(name, _option_type(name), field_option(name)) for name in names),
            _parameter("config", *get_args(Config)),
            *(parameter for parameter in own if parameter.default is not Parameter.empty),
        ]
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def parse_settings(texts: list[str] | None) -> dict[str, Any]:
    """Return the settings that `--set` names, `section.key` -> value."""
    return dict(parse_setting(text) for text in texts or [])


def _request(config: Path | None, given: Mapping[str, Any]) -> Request:
    """Return the request of a config file's entries and of the options, which take precedence."""
    command_line = {name: value for name, value in given.items() if value not in (None, [])}
    if "set" in command_line:
        command_line["set"] = parse_settings(command_line["set"])
    if "launcher_option" in command_line:
        options = command_line["launcher_option"]
        command_line["launcher_option"] = dict(parse_launcher_option(text) for text in options)
    entries = read_config_file(config) if config else {}
    return make_request(entries, command_line, file=config, flags=True)


def _option_type(name: str) -> Any:
    """Return the type of a field's option; lists that are joined by commas are a `str`."""
    if name in REPEATABLE:
        return list[str] | None
    return next((kind for kind in (bool, int, Path) if kind in _types(name)), str) | None


def _parameter(name: str, kind: Any, option: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
