"""Stacks of modes and hooks that PyTorch applies to every operation of a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _python_dispatch as dispatch


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of modes or hooks.

    Attributes:
        name: the stack in error messages.
        read: returns its entries, the first entered first.
        pop: removes the last entry.
        push: adds an entry.
    """

    name: str
    read: Callable[[], tuple[Any, ...]]
    pop: Callable[[], Any]
    push: Callable[[Any], Any]

    def write(self, entries: tuple[Any, ...]) -> None:
        """Replace all entries."""
        for _ in self.read():
            self.pop()
        for entry in entries:
            self.push(entry)


def _function_modes() -> tuple[Any, ...]:
    number = torch._C._len_torch_function_stack()
    return tuple(torch._C._get_function_stack_at(place) for place in range(number))


def _saved_tensor_hooks() -> tuple[Any, ...]:
    """Return the pairs of hooks; only the last one can be read, so all are popped and put back."""
    found = []
    also_if_tracing = True
    while pair := torch._C._autograd._top_saved_tensors_default_hooks(also_if_tracing):
        found.append(pair)
        torch._C._autograd._pop_saved_tensors_default_hooks()
    found.reverse()
    for pair in found:
        torch._C._autograd._push_saved_tensors_default_hooks(*pair)
    return tuple(found)


FUNCTION_MODES = Stack(
    name="the stack of torch function modes (`with torch.device(...)` is one)",
    read=_function_modes,
    pop=torch._C._pop_torch_function_stack,
    push=torch._C._push_on_torch_function_stack,
)
DISPATCH_MODES = Stack(
    name="the stack of torch dispatch modes",
    read=lambda: tuple(dispatch._get_current_dispatch_mode_stack()),
    pop=dispatch._pop_mode,
    push=dispatch._push_mode,
)
SAVED_TENSOR_HOOKS = Stack(
    name="the hooks on tensors that autograd saves",
    read=_saved_tensor_hooks,
    pop=torch._C._autograd._pop_saved_tensors_default_hooks,
    push=lambda pair: torch._C._autograd._push_saved_tensors_default_hooks(*pair),
)

_entered: list[torch.inference_mode] = []
"""Contexts that are never left: PyTorch restores the mode before them when one is deleted."""


def set_inference_mode(mode: bool) -> None:
    """Switch inference mode on or off."""
    context = torch.inference_mode(mode)
    context.__enter__()
    _entered.append(context)
