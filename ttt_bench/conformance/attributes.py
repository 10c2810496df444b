"""Descriptions of what a method keeps outside parameters and buffers.

This is attributes of the adapter and of its modules, class attributes, and globals of its package.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, singledispatch
from types import CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttt_bench.adapter import Adapter
from ttt_bench.util.code.error_place import package_of, packages_of

Part = Callable[[Any], Any]
"""The description of a part of a value."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy", "timm", "torchvision", "ttt_bench"}


def describe(value: Any, outer: frozenset[int] = frozenset()) -> Any:
    """Return a description of a value that is equal for equal values, in tuples and strings.

    Tensors are described by their numbers on a CPU, and by dtype and shape on other devices, where
    the numbers of equal runs differ by rounding.

    Args:
        value: any object; its parts are described too.
        outer: ids of the objects that contain it.
    """
    if id(value) in outer:
        return "an outer object"
    part = partial(describe, outer=outer | {id(value)})
    return (type(value).__qualname__, _form(value, part))


@singledispatch
def _form(value: Any, part: Part) -> Any:
    own = package_of(type(value).__module__) not in _LIBRARIES
    return (
        part(vars(value)) if own and hasattr(value, "__dict__") else _ADDRESS.sub("", repr(value))
    )


@_form.register
def _(value: Tensor, part: Part) -> Any:
    shape = (str(value.dtype), tuple(value.shape), str(value.device))
    if value.device.type != "cpu":
        return shape
    flat = value.detach().contiguous().reshape(-1).view(torch.uint8)
    return (*shape, hashlib.sha1(flat.numpy().tobytes()).hexdigest())


@_form.register
def _(value: np.ndarray, part: Part) -> Any:
    return (str(value.dtype), value.shape, hashlib.sha1(value.tobytes()).hexdigest())


@_form.register(Mapping)
def _(value: Mapping[Any, Any], part: Part) -> Any:
    return tuple((part(key), part(item)) for key, item in value.items())


@_form.register(list)
@_form.register(tuple)
@_form.register(deque)
def _(value: Any, part: Part) -> Any:
    return tuple(part(item) for item in value)


@_form.register(set)
@_form.register(frozenset)
def _(value: Any, part: Part) -> Any:
    return tuple(sorted(repr(part(item)) for item in value))


@_form.register
def _(value: SimpleNamespace, part: Part) -> Any:
    return part(vars(value))


@_form.register
def _(value: nn.Module, part: Part) -> Any:
    return part(dict(value.state_dict(keep_vars=True))), part(plain_attributes(value))


@_form.register(type)
@_form.register(ModuleType)
def _(value: Any, part: Part) -> Any:
    return value.__name__


@_form.register
def _(value: FunctionType, part: Part) -> Any:
    if package_of(value.__globals__.get("__name__", "")) in _LIBRARIES:
        # code of a library, such as that which torch.compile puts around a function
        return value.__qualname__, part(getattr(value, "__wrapped__", None))
    return value.__qualname__, part(
        (value.__dict__, value.__defaults__, value.__kwdefaults__, value.__closure__)
    )


@_form.register
def _(value: CellType, part: Part) -> Any:
    try:
        return part(value.cell_contents)
    except ValueError:  # a cell that is not filled yet
        return "empty"


@_form.register
def _(value: MethodType, part: Part) -> Any:
    return part(value.__func__), part(value.__self__)


@_form.register(partial)
def _(value: partial[Any], part: Part) -> Any:
    return part((value.func, value.args, value.keywords))


@_form.register
def _(value: torch.Generator, part: Part) -> Any:
    return part(value.get_state())


@_form.register
def _(value: random.Random, part: Part) -> Any:
    return value.getstate()


@_form.register
def _(value: np.random.Generator, part: Part) -> Any:
    return part(value.bit_generator.state)


@_form.register
def _(value: np.random.RandomState, part: Part) -> Any:
    return part(value.get_state(legacy=False))


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module and of its submodules that are no tensors or modules."""
    return {
        f"{name}.{attribute}".lstrip("."): value
        for name, part in module.named_modules()
        for attribute, value in vars(part).items()
        if not attribute.startswith("_") and attribute != "training"
    }


def own_attributes(adapter: Adapter, net: nn.Module) -> dict[str, Any]:
    """Return a description of every attribute of a method and of its modules, by name."""
    found = {f"self.{name}": value for name, value in vars(adapter).items() if name != "options"}
    for name, value in plain_attributes(net).items():
        if name.startswith("extra."):
            found[f"net.{name}"] = value
    return {name: describe(value) for name, value in found.items()}


@dataclass(frozen=True)
class Shared:
    """The class attributes and globals of a method's package at one time.

    Attributes:
        method: the method's class.
        values: (module or class, name) -> value; containers are shallow copies.
    """

    method: type[Adapter]
    values: dict[tuple[Any, str], Any]

    @classmethod
    def of(cls, method: type[Adapter]) -> Shared:
        """Return the present values."""
        return cls(method, {place: _kept(value) for place, value in _shared(method)})

    def put_back(self) -> None:
        """Set every class attribute and global to the value that it had."""
        for place, name in [place for place, _ in _shared(self.method)]:
            if (place, name) not in self.values:
                delattr(place, name)
        for (place, name), value in self.values.items():
            if vars(place).get(name) is not value:
                setattr(place, name, _kept(value))


def shared_attributes(method: type[Adapter]) -> dict[str, Any]:
    """Return a description of the class attributes and globals of a method's package, by name."""
    return {f"{place.__name__}.{name}": describe(value) for (place, name), value in _shared(method)}


def _shared(method: type[Adapter]) -> Iterator[tuple[tuple[Any, str], Any]]:
    """Yield ((module or class, name), value) of a method's package."""
    packages = packages_of(method)
    loaded = [module for name, module in sys.modules.items() if package_of(name) in packages]
    modules = [module for module in loaded if isinstance(module, ModuleType)]
    places = [value for module in modules for value in vars(module).values()]
    classes = [value for value in (*places, *method.__mro__) if isinstance(value, type)]
    own = [one for one in classes if package_of(one.__module__) in packages]
    for place in [*modules, *dict.fromkeys(own)]:
        for name, value in list(vars(place).items()):
            if not name.startswith("__") and _is_state(value):
                yield (place, name), value


def _is_state(value: Any) -> bool:
    """Return whether a class attribute or global is no part of the code."""
    return not isinstance(value, (type, ModuleType, staticmethod, classmethod, property))


def _kept(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list, set, deque)) else value
