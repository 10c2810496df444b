"""All checks: functions that take a subject and raise `ViolationError` with the problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ttt_bench.conformance.expect import demand, predictions_fit, same_outputs
from ttt_bench.conformance.networks.subject import NetworkSubject
from ttt_bench.conformance.subject import SIZES, TARGET_SIZE
from ttt_bench.network import STAGES
from ttt_bench.util.text import listed


def parts(subject: NetworkSubject) -> None:
    """It can be built; all parameters are in `backbone` or `heads`; its attributes are right."""
    network, channels = subject.build(), subject.channels
    demand(network.tasks == channels, f"`tasks` is {network.tasks}, not {channels}")
    demand(len(network.channels) == STAGES, f"`channels` has {len(network.channels)} entries")
    elsewhere = [
        name
        for name, _ in network.named_parameters()
        if not name.startswith(("backbone.", "heads."))
    ]
    demand(
        not elsewhere,
        f"has parameters outside `backbone` and `heads` ({listed(elsewhere)}); make them part of "
        "one of the two",
    )
    inplace = [name for name, layer in network.named_modules() if getattr(layer, "inplace", False)]
    demand(not inplace, f"has layers that overwrite their input ({listed(inplace)})")


def stages(subject: NetworkSubject) -> None:
    """There are four stages with the declared channels, and the first one is the largest."""
    network = subject.build()
    for size in SIZES:
        where, images = f"at {size[0]}x{size[1]}", subject.images(size=size)
        found = network.stages(images)
        shapes = [tuple(stage.shape) for stage in found]
        demand(len(found) == STAGES, f"returns {len(found)} stages {where}")
        fits = all(
            len(shape) == 4 and shape[:2] == (len(images), channels)
            for shape, channels in zip(shapes, network.channels, strict=True)
        )
        demand(fits, f"stages {where} are {shapes}, but `channels` is {network.channels}")
        areas = [stage.shape[-2:].numel() for stage in found]
        demand(areas == sorted(areas, reverse=True), f"stages {where} grow from one to the next")


def first_stages(subject: NetworkSubject) -> None:
    """`stages(images, last)` equals the first stages, which depend on `upstream(last)` alone."""
    network, images = subject.build(), subject.images()
    whole = network.stages(images)
    backbone = {f"backbone.{name}": one for name, one in network.backbone.named_parameters()}
    for last in range(1, STAGES + 1):
        found, upstream = network.stages(images, last), set(network.upstream(last))
        demand(
            len(found) == last and all(map(torch.equal, found, whole)),
            f"stages(images, last={last}) differs from the first {last} of stages(images)",
        )
        unknown = sorted(upstream - backbone.keys())
        demand(not unknown, f"upstream({last}) names no parameters: {listed(unknown)}")
        missing = sorted(_reached(found, backbone) - upstream)
        demand(not missing, f"upstream({last}) lacks {listed(missing)}")


def sizes(subject: NetworkSubject) -> None:
    """Outputs fit the images at rectangular and odd sizes, for every set of tasks."""
    for channels in subject.task_sets:
        network = subject.build(channels)
        for size in SIZES if channels == subject.channels else (TARGET_SIZE,):
            outputs = network(subject.images(size=size))
            where = f"of {', '.join(channels)} at {size[0]}x{size[1]}"
            predictions_fit(outputs, channels, 2, size, where)


def heads(subject: NetworkSubject) -> None:
    """Outputs are computed from the stages and a size alone; the backbone does not run again."""
    network, images = subject.build(), subject.images()
    whole, found = network(images), network.stages(images)
    ran: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: ran.append(layer))
        for layer in network.backbone.modules()
    ]
    apart = network.outputs([stage.clone() for stage in found], images.shape[-2:])
    for hook in hooks:
        hook.remove()
    demand(not ran, "`outputs` runs layers of the backbone; compute it from the stages")
    same_outputs([apart], [whole], "outputs(stages, size) differs from the network's outputs")
    larger = (2 * images.shape[-2], images.shape[-1] + 1)
    predictions_fit(network.outputs(found, larger), subject.channels, 2, larger, "at another size")


def repeats(subject: NetworkSubject) -> None:
    """The same seed gives the same network, which gives an image the same outputs each time."""
    images = subject.images(count=3)
    network, again = subject.build(), subject.build()
    once = network(images)
    same_outputs([once], [again(images)], "two networks of the same seed differ")
    same_outputs([once], [network(images)], "two passes in eval mode differ")
    alone = network(images[:1])
    for task, output in once.items():
        demand(
            torch.allclose(output[:1], alone[task], rtol=1e-3, atol=1e-4),
            f"the {task} of an image depends on the other images of the batch in eval mode",
        )


def state(subject: NetworkSubject) -> None:
    """Parameters and buffers are the whole state: a network that loads them gives equal outputs."""
    images, network, other = subject.images(), subject.build(), subject.build(seed=1)
    other.load_state_dict(network.state_dict())
    same_outputs(
        [network(images)],
        [other(images)],
        "a network that has loaded the state of another one gives other outputs; keep what it "
        "depends on in parameters and buffers, or in options",
    )


def supervised(subject: NetworkSubject) -> None:
    """The first of the supervised outputs are the predictions; each has every task."""
    network, images = subject.build(), subject.images()
    found = network.stages(images)
    sets = network.supervised_outputs(found, images.shape[-2:])
    demand(bool(sets), "`supervised_outputs` is empty")
    for number, outputs in enumerate(sets):
        where = f"in entry {number} of `supervised_outputs`"
        predictions_fit(outputs, subject.channels, len(images), TARGET_SIZE, where)
    first = [network.outputs(found, images.shape[-2:])]
    same_outputs(first, sets[:1], "the first entry of `supervised_outputs` differs from `outputs`")


def gradients(subject: NetworkSubject) -> None:
    """The supervised outputs have a gradient at every parameter of the heads and at the backbone.

    Each of the tasks alone has one at the backbone.
    """
    network, images = subject.build().train(), subject.images(count=4)
    sets = network.supervised_outputs(network.stages(images), images.shape[-2:])
    head = {f"heads.{name}": one for name, one in network.heads.named_parameters()}
    idle = sorted(head.keys() - _reached([x for outputs in sets for x in outputs.values()], head))
    demand(
        not idle,
        f"no supervised output depends on {listed(idle)}; remove these parameters, or add an "
        "output to `supervised_outputs`",
    )
    backbone = dict(network.backbone.named_parameters())
    for task, output in sets[0].items():
        demand(bool(_reached([output], backbone)), f"the gradient of {task} ends in the heads")


def meta(subject: NetworkSubject) -> None:
    """It runs on PyTorch's meta device, where runs are planned: shapes do not depend on values."""
    with torch.device("meta"):
        network = replace(subject, device=torch.device("meta")).build()
        found = network(torch.empty(2, 3, *TARGET_SIZE))
    shapes = {task: tuple(output.shape) for task, output in found.items()}
    wanted = {task: (2, k, *TARGET_SIZE) for task, k in subject.channels.items()}
    demand(shapes == wanted, f"outputs on the meta device have the shapes {shapes}, not {wanted}")


def _reached(outputs: Iterable[Tensor], parameters: Mapping[str, nn.Parameter]) -> set[str]:
    """Return the names of the parameters that outputs depend on."""
    total = torch.stack([output.square().mean() for output in outputs]).sum()
    wanted: Sequence[nn.Parameter] = list(parameters.values())
    found = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)
    return {name for name, one in zip(parameters, found, strict=True) if one is not None}


CHECKS: dict[str, Callable[[NetworkSubject], None]] = {
    "parts": parts,
    "stages": stages,
    "first stages": first_stages,
    "sizes": sizes,
    "heads": heads,
    "repeats": repeats,
    "state": state,
    "supervised outputs": supervised,
    "gradients": gradients,
    "meta device": meta,
}
"""Every check by its name, in the order in which they run; the others need the first one."""
