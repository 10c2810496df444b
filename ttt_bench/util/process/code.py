"""The code of PyTorch, timm and the harness, which a plugin can replace.

A snapshot holds references to functions and classes, so that what was replaced can be put back.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

import timm.layers  # noqa: F401  loaded first, so that a plugin does not load and change it
import torch

CLASSES_OF = ("torch.nn", "torch.optim", "timm.layers", "timm.models", "ttt_bench")
"""Packages whose classes are watched, in all of their modules that are loaded."""
FUNCTIONS_OF = (
    "torch.nn.functional",
    "torch.nn.init",
    "torch.autograd",
    "timm.layers",
    "ttt_bench",
)
"""Packages whose functions are watched, in all of their modules that are loaded."""
MISSING: Any = object()


@dataclass(frozen=True)
class Replaced:
    """An attribute of a class or module that was replaced.

    Attributes:
        owner: the class or module.
        attribute: name of the attribute.
        before: the value before; `MISSING` if a class inherited it.
    """

    owner: type | ModuleType
    attribute: str
    before: Any

    def __str__(self) -> str:
        if isinstance(self.owner, ModuleType):
            return f"{self.owner.__name__}.{self.attribute}"
        # torch.nn.modules.conv.Conv2d is known as torch.nn.Conv2d
        package = self.owner.__module__
        package = "torch.nn" if package.startswith("torch.nn.modules.") else package
        return f"{package}.{self.owner.__qualname__}.{self.attribute}"

    def put_back(self) -> None:
        """Restore the attribute."""
        if self.before is MISSING:
            delattr(self.owner, self.attribute)
        else:
            setattr(self.owner, self.attribute, self.before)


@dataclass(frozen=True, kw_only=True)
class Code:
    """The attributes of classes and modules at one time.

    Attributes:
        classes: class -> attribute -> value.
        modules: module -> attribute -> value.
        loaded: number of modules that were loaded.
        live: for every class and module, a view of the values that its attributes have now.
        values: all values of `live` at the time of the snapshot.
    """

    classes: Mapping[type, Mapping[str, Any]]
    modules: Mapping[ModuleType, Mapping[str, Any]]
    loaded: int
    live: Sequence[ValuesView[Any]] = field(repr=False)
    values: list[Any] = field(repr=False)

    @classmethod
    def now(cls) -> Code:
        """Return the code of the process; the last snapshot if nothing has changed since.

        Taking a snapshot takes several milliseconds, comparing one less than a millisecond.
        """
        if not (_last and _last[0].is_current()):
            _last[:] = [cls._taken()]
        return _last[0]

    @classmethod
    def _taken(cls) -> Code:
        classes = {found for module in _loaded(CLASSES_OF) for found in _classes(module)}
        modules = {torch, torch.nn, torch.functional, *_loaded(FUNCTIONS_OF)}
        owners: list[type | ModuleType] = [torch.Tensor, *(classes - {torch.Tensor}), *modules]
        live = [vars(one).values() for one in owners]
        return cls(
            classes={one: dict(vars(one)) for one in owners if isinstance(one, type)},
            modules={one: dict(vars(one)) for one in owners if isinstance(one, ModuleType)},
            loaded=len(sys.modules),
            live=live,
            values=list(chain.from_iterable(live)),
        )

    def is_current(self) -> bool:
        """Return whether the process has the same code and modules."""
        return self._is_unchanged() and self.loaded == len(sys.modules)

    def _is_unchanged(self) -> bool:
        """Return whether all attributes have the values of the snapshot, in the same order.

        Comparing one list takes a third of the time of comparing one dictionary per class.
        """
        return list(chain.from_iterable(self.live)) == self.values

    @cached_property
    def foreign(self) -> list[str]:
        """Functions and classes of PyTorch and timm that other packages replaced."""
        owners: dict[Any, Mapping[str, Any]] = {**self.classes, **self.modules}
        found = [
            Replaced(owner, name, value)
            for owner, values in owners.items()
            for name, value in values.items()
            if _is_foreign(owner, name, value)
        ]
        return [f"{one} (by {_package(one.before) or 'generated code'})" for one in found]

    def replaced(self) -> list[Replaced]:
        """Return the attributes that have been replaced since, but for harmless changes."""
        if self._is_unchanged():
            return []
        found: list[Replaced] = []
        for owner in _unequal(self.classes):
            found += _replaced_in_class(owner, self.classes)
        for module in _unequal(self.modules):
            found += _replaced_in_module(module, self.modules[module])
        return found


_last: list[Code] = []


def foreign() -> list[str]:
    """Return functions and classes of PyTorch and timm that others replaced, with the package.

    They were replaced before a run began, so the original is not known.
    """
    return Code.now().foreign


def _is_foreign(owner: type | ModuleType, name: str, value: Any) -> bool:
    home = (owner.__name__ if isinstance(owner, ModuleType) else owner.__module__).partition(".")[0]
    if home not in ("torch", "timm") or not callable(value):
        return False
    if isinstance(value, partial):
        # one that PyTorch made itself has another name than its function
        return bool(getattr(value.func, "__name__", "") == name)
    package = _package(value)
    return package not in _OWN and not package.startswith("namedtuple_")


_OWN = {"torch", "timm", "torchvision", "typing_extensions", *sys.stdlib_module_names}
_OWN -= {"unittest", "__main__"}  # mocks, and a script


def _package(value: Any) -> str:
    """Return the package of a function within its wrappers, of a class, or of a value's class."""
    inner = inspect.unwrap(value)
    if isinstance(inner, FunctionType):
        return _module(inner).partition(".")[0]
    kind = inner if isinstance(inner, type) else type(inner)
    return kind.__module__.partition(".")[0]


def _loaded(packages: Iterable[str]) -> Iterator[ModuleType]:
    """Yield the loaded modules of these packages."""
    for name, module in list(sys.modules.items()):
        inside = any(name == package or name.startswith(f"{package}.") for package in packages)
        if inside and isinstance(module, ModuleType):
            yield module


def _classes(module: ModuleType) -> list[type]:
    """Return the classes that a module defines."""
    values = list(vars(module).values())
    return [one for one in values if isinstance(one, type) and one.__module__ == module.__name__]


def _unequal(owners: Mapping[Any, Mapping[str, Any]]) -> list[Any]:
    """Return the owners whose attributes are not those of the snapshot."""
    return [owner for owner, before in owners.items() if vars(owner) != before]


def _replaced_in_class(
    owner: type, classes: Mapping[type, Mapping[str, Any]]
) -> Iterator[Replaced]:
    before, now = classes[owner], dict(vars(owner))
    bases = [classes.get(base, vars(base)) for base in owner.__mro__[1:]]
    for name in now.keys() | before.keys():
        new, own = now.get(name, MISSING), before.get(name, MISSING)
        # the value before, or the one that the class inherited
        old = next((one[name] for one in (before, *bases) if name in one), MISSING)
        special = name.startswith("_") and not (_is_code(old) or _is_code(new))
        if own is not new and old is not MISSING and not special and not _is_late(new, old):
            yield Replaced(owner, name, own)


def _replaced_in_module(module: ModuleType, before: Mapping[str, Any]) -> Iterator[Replaced]:
    now = vars(module)
    for name, old in before.items():
        if now.get(name) is not old and callable(old) and not _is_late(now.get(name), old):
            yield Replaced(module, name, old)


def _is_code(value: Any) -> bool:
    return callable(value) or hasattr(value, "__get__")


def _is_late(new: Any, old: Any) -> bool:
    """Return whether PyTorch itself put `new` around `old`.

    It does so when an optimiser is made for the first time, and when code is compiled.
    """
    value = new
    while value is not old and _module(value).startswith("torch."):
        if not hasattr(value, "__wrapped__"):
            return _module(value).startswith("torch._dynamo.")
        value = value.__wrapped__
    return value is old


def _module(function: Any) -> str:
    """Return the name of the module whose code a function runs; empty for built-in functions."""
    return str(getattr(function, "__globals__", {}).get("__name__", ""))
