"""The check that a method leaves the structure and the modes of the network as they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from ttt_bench.conformance.attributes import describe, plain_attributes
from ttt_bench.conformance.expect import demand
from ttt_bench.conformance.runs import outputs
from ttt_bench.conformance.subject import Subject
from ttt_bench.model import BATCH_NORMS
from ttt_bench.network import Net
from ttt_bench.util.text import listed

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)
_MODES = ("track_running_stats",)
"""Attributes of BatchNorm layers that the harness sets before every call."""

ADVICE = {
    "parameters": "register parameters in `build`, and write values in place",
    "gradients": "restore `requires_grad` before the hook returns",
    "buffers": "register buffers in `build` or `bind` with their final shape, and detach values",
    "modules": "add and replace modules in `build`, never later",
    "modes": "set modes in `bind`, use `ctx.norm` for BatchNorm, or restore them",
    "hooks": "register hooks in `bind`, or remove them before the hook of the method returns",
    "attributes": "set attributes of the network's modules in `bind`, or restore them",
}
"""Kind of a property -> how to keep it."""


def network(subject: Subject) -> None:
    """Between `bind` and the end of a batch, the network keeps everything but its values.

    It keeps its modules, hooks, modes and attributes; its parameters are the same tensors; its
    buffers keep name, shape, type and device.
    """
    session, images = subject.session(), subject.images()
    session.ctx.norms.set(session.plan.predict)
    before = _properties(session.net)
    for number in range(2):
        outputs(session, images, number, steps=1)
    session.ctx.norms.set(session.plan.predict)
    after = _properties(session.net)
    for kind, advice in ADVICE.items():
        one, other = before[kind], after[kind]
        changed = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
        demand(
            not changed,
            f"changes the network's {kind} while adapting ({listed(sorted(changed))}); {advice}",
        )


def _properties(net: Net) -> dict[str, dict[str, Any]]:
    """Return kind of property -> name -> value."""
    parameters, modules = dict(net.named_parameters()), dict(net.named_modules())
    return {
        "parameters": {
            name: (id(one), one.dtype, one.device, one.shape) for name, one in parameters.items()
        },
        "gradients": {name: one.requires_grad for name, one in parameters.items()},
        "buffers": {
            name: (one.dtype, one.device, one.shape, one.requires_grad)
            for name, one in net.named_buffers()
        },
        "modules": {name: id(module) for name, module in modules.items()},
        "modes": dict(_modes(modules)),
        "hooks": {name: _hooks(module) for name, module in modules.items()},
        "attributes": {
            name: describe(value)
            for name, value in plain_attributes(net.model).items()
            if name.rpartition(".")[2] not in _MODES
        },
    }


def _hooks(module: nn.Module) -> list[int]:
    """Return the number of hooks of each kind."""
    return [len(getattr(module, kind, ())) for kind in _HOOKS]


def _modes(modules: dict[str, nn.Module]) -> Iterator[tuple[str, bool]]:
    """Yield the mode of every module but the model's BatchNorm layers, which the harness sets."""
    for name, module in modules.items():
        if not (name.startswith("model.") and isinstance(module, BATCH_NORMS)):
            yield name or "net", module.training
