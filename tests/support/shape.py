"""The shape of the source: lengths, nesting, positional arguments, read from the syntax trees.

Run it to see the shape of a change: `PYTHONPATH=tests python -m support.shape`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from support.paths import ROOT

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MOST_POSITIONAL = 5
MOST_FIELDS = 3
VARIADIC = frozenset({"permute"})
"""Functions of libraries that take any number of positional arguments."""


@dataclass(frozen=True)
class Source:
    """A module: its path below the checkout, its number of lines and its syntax tree."""

    path: Path
    lines: int
    tree: ast.Module


def files(*folders: str) -> list[Path]:
    """Return the paths of the modules below these folders of the checkout, without links."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not _below_link(path)]


def sources(*folders: str) -> list[Source]:
    """Return the modules below these folders of the checkout; links are not followed."""
    return [_read(path) for path in files(*folders)]


def lengths(modules: Iterable[Source]) -> list[int]:
    """Return the number of lines of every function, without its docstring."""
    return [_length(node) for _, node in _walk(modules) if isinstance(node, FUNCTIONS)]


def nested_comprehensions(modules: Iterable[Source]) -> list[str]:
    """Return the places of comprehensions inside comprehensions."""
    return [place for place, node in _walk(modules) if _contains_own_kind(node, COMPREHENSIONS)]


def nested_conditionals(modules: Iterable[Source]) -> list[str]:
    """Return the places of conditional expressions inside conditional expressions."""
    return [place for place, node in _walk(modules) if _contains_own_kind(node, (ast.IfExp,))]


def long_calls(modules: Sequence[Source]) -> list[str]:
    """Return the places of calls with more than `MOST_POSITIONAL` positional arguments.

    Calls of functions that take any number of arguments (`*values`) do not count.
    """
    variadic = VARIADIC | _variadic_functions(modules)
    calls = [(place, node) for place, node in _walk(modules) if isinstance(node, ast.Call)]
    return [
        place
        for place, call in calls
        if len(call.args) > MOST_POSITIONAL and _name(call.func) not in variadic
    ]


def positional_records(modules: Iterable[Source]) -> list[str]:
    """Return the places of dataclasses with more than `MOST_FIELDS` fields and no `kw_only`."""
    classes = [(place, node) for place, node in _walk(modules) if isinstance(node, ast.ClassDef)]
    return [place for place, node in classes if _is_positional_record(node)]


def _read(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(path.relative_to(ROOT), len(text.splitlines()), ast.parse(text))


def _below_link(path: Path) -> bool:
    parents = path.relative_to(ROOT).parents
    return any((ROOT / parent).is_symlink() for parent in parents)


def _walk(modules: Iterable[Source]) -> Iterator[tuple[str, ast.AST]]:
    for module in modules:
        for node in ast.walk(module.tree):
            yield f"{module.path}:{getattr(node, 'lineno', 0)}", node


def _variadic_functions(modules: Iterable[Source]) -> set[str]:
    functions = [node for _, node in _walk(modules) if isinstance(node, FUNCTIONS)]
    return {function.name for function in functions if function.args.vararg}


def _name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def _contains_own_kind(node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> bool:
    if not isinstance(node, kinds):
        return False
    return any(isinstance(inner, kinds) for inner in ast.walk(node) if inner is not node)


def _is_positional_record(node: ast.ClassDef) -> bool:
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    marks = [text for text in decorators if text.startswith("dataclass")]
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and _is_field(item)]
    return bool(marks) and "kw_only=True" not in marks[0] and len(fields) > MOST_FIELDS


def _is_field(item: ast.AnnAssign) -> bool:
    return "ClassVar" not in ast.unparse(item.annotation) and "init=False" not in ast.unparse(item)


def main() -> None:
    """Print the shape of the harness and of the methods."""
    for folder in ("ttt_bench", "methods", "tests"):
        modules = sources(folder)
        found = lengths(modules)
        p90 = quantiles(found, n=10)[-1]
        print(f"{folder}: {len(modules)} modules, {sum(module.lines for module in modules)} lines")
        print(f"  function length: median {median(found):g}, 90th percentile {p90:g}")
        print(f"  longest module: {max(module.lines for module in modules)} lines")
        for name, places in {
            "nested comprehensions": nested_comprehensions(modules),
            "nested conditional expressions": nested_conditionals(modules),
            f"calls with more than {MOST_POSITIONAL} positional arguments": long_calls(modules),
            f"positional dataclasses of more than {MOST_FIELDS} fields": positional_records(
                modules
            ),
        }.items():
            print(f"  {name}: {len(places)} {', '.join(places[:8])}")


if __name__ == "__main__":
    main()
