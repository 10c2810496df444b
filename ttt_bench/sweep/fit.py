"""Check whether a network fits the images of a pair, and a method fits the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from torch import nn

from ttt_bench.adapt.meta import forward_error, meta_net, plan_of, size_remedy
from ttt_bench.adapt.optimiser import rate_factors
from ttt_bench.adapt.parameters import moved_parameters, parameter_counts
from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError, ProcessError
from ttt_bench.model.architecture import build_model
from ttt_bench.model.batchnorm import BATCH_NORMS
from ttt_bench.model.layer_needs import missing_layers, remedy
from ttt_bench.model.normalisation import normalisation_notice
from ttt_bench.model.parameters import count_parameters
from ttt_bench.model.split import random_layer
from ttt_bench.model.weights import load_weights
from ttt_bench.network import Network
from ttt_bench.sweep.batches import target_batches
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.sweep.settings import channels_of, source_spec, target_of
from ttt_bench.sweep.source_data import source_change
from ttt_bench.tasks import canonical
from ttt_bench.train.chain import training_chain, trains_on_source
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.problems import attempt
from ttt_bench.util.process import watched


@dataclass(frozen=True, kw_only=True)
class MethodFit:
    """How a method fits a pair.

    Attributes:
        settings: the method's settings.
        reason: the reason why it cannot run on the pair; None if it can.
        moves: whether it moves parameters.
        parameters: `parameter_counts` of the method's network; None if it cannot be built.
        left_out: the requested protocols under which it is not defined.
    """

    settings: MethodSettings
    reason: str | None
    moves: bool = True
    parameters: dict[str, Any] | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PairFit:
    """How the shared network and the methods fit a pair.

    Attributes:
        opened: the pair with its data.
        methods: the methods.
        notices: what the user should know.
        problems: reasons why the pair cannot be run.
    """

    opened: OpenedPair
    methods: tuple[MethodFit, ...]
    notices: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NetworkFit:
    """How the shared network fits a pair.

    Attributes:
        notices: what the user should know.
        problems: reasons why the pair cannot be run.
        batchnorm: whether the network has BatchNorm layers.
    """

    notices: tuple[str, ...]
    problems: tuple[str, ...]
    batchnorm: bool


def fit_pair(
    opened: OpenedPair, settings: Sequence[MethodSettings], resolved: ResolvedRequest
) -> PairFit:
    """Return how the shared network and the methods fit a pair.

    A method that does not apply is a problem if the user named it, or if it is the user's settings
    that it does not apply with.
    """
    fit = fit_methods(opened, settings, resolved, fit_network(opened, resolved))
    refused = [
        f"{opened.pair.name}: {one.settings.adapter.name} {one.reason}"
        for one in fit.methods
        if one.reason and (_named(one, resolved) or _fits_without_settings(one, opened, resolved))
    ]
    return replace(fit, problems=(*fit.problems, *refused))


def fit_network(opened: OpenedPair, resolved: ResolvedRequest) -> NetworkFit:
    """Return how the shared network fits a pair, whatever methods run."""
    network = meta_net(opened.preset.model, channels_of(opened)).model
    return NetworkFit(
        notices=tuple(filter(None, [*opened.notices, normalisation_notice(opened.preset.model)])),
        problems=(
            *_image_problems(opened, network, resolved),
            *_source_problems(opened, resolved),
            *_sharing_problems(opened, network, resolved),
        ),
        batchnorm=_has_batchnorm(network),
    )


def fit_methods(
    opened: OpenedPair,
    settings: Sequence[MethodSettings],
    resolved: ResolvedRequest,
    network: NetworkFit,
) -> PairFit:
    """Return how methods fit a pair whose network is `network`; none of them is a problem."""
    methods = tuple(_method_fit(opened, one, resolved.request) for one in settings)
    label, names = opened.preset.model.label, [one.adapter.name for one in settings]
    equal = "norm" in names and not network.batchnorm
    notice = [f"{label} has no BatchNorm layers: norm will equal base"] if equal else []
    notice += [
        f"{fit.settings.adapter.name} is not defined under {', '.join(fit.left_out)}: left out"
        for fit in methods
        if fit.left_out
    ]
    return PairFit(
        opened=opened,
        methods=methods,
        notices=(*network.notices, *notice),
        problems=network.problems,
    )


def _image_problems(opened: OpenedPair, network: Network, resolved: ResolvedRequest) -> list[str]:
    """Return the reasons why the network cannot take the images of the pair."""
    sizes = {"source": opened.source_data.size, "target": opened.target_data.size}
    batches = {"target": _smallest_batch(opened)}
    if resolved.weights is None:
        batches["source"] = opened.preset.training.batch
    problems: list[str] = []
    for role, size in sizes.items():
        if role in batches:
            problems += _batch_problems(opened, network, role, size=size, batch=batches[role])
        problems += _size_problems(opened, role, size)
    return problems


def _source_problems(opened: OpenedPair, resolved: ResolvedRequest) -> list[str]:
    """Return the reasons why existing source models or the given weights cannot be used."""
    weights = resolved.request.source_weights
    if weights is None:
        change, problems = attempt(source_change, opened, resolved.checkpoints)
        return [change] if change else problems
    model = build_model(opened.preset.model.untrained(), channels_of(opened))
    return attempt(load_weights, model, weights)[1]


def _method_fit(opened: OpenedPair, settings: MethodSettings, request: Request) -> MethodFit:
    """Return whether a method can run on a pair, and whether it moves parameters."""
    try:
        with watched(f"planning with method {settings.adapter.name}"):
            return _fit(opened, settings, request)
    except ProcessError as error:
        return MethodFit(settings=settings, reason=f"cannot run: {error}")


def _fit(opened: OpenedPair, settings: MethodSettings, request: Request) -> MethodFit:
    adapter = settings.adapter
    try:
        reason = _unmet_need(opened, adapter, request)
        if reason:
            hint = remedy(adapter, lambda other: _unmet_need(opened, other, request))
            return MethodFit(settings=settings, reason=f"{reason}{hint}")
        net = meta_net(opened.preset.model, channels_of(opened, adapter), adapter)
        trainable = count_parameters(net, adapter.uncounted)
        moves = plan_of(net, adapter, target_of(opened)).moves
        if moves:
            updated = moved_parameters(net, moves, adapter.name)
            rate_factors(updated, settings.optimiser.rates)
        parameters = parameter_counts(net, adapter, moves, trainable=trainable)
        training_chain(source_spec(opened, 0, adapter), adapter)
        adapter.source_pass()
    except ProcessError:
        raise
    except BenchError as error:
        return MethodFit(settings=settings, reason=f"does not fit: {error}")
    except Exception as error:  # a plugin may raise anything, and must not stop the others
        label = opened.preset.model.label
        return MethodFit(
            settings=settings,
            reason=f"cannot be bound to {label}: {describe(error, type(adapter))}",
        )
    reason = missing_layers(adapter, net.model, opened.preset.model.label)
    return MethodFit(
        settings=settings,
        reason=reason,
        moves=bool(moves),
        parameters=parameters,
        left_out=_undefined(adapter, request) if reason is None else (),
    )


def _named(fit: MethodFit, resolved: ResolvedRequest) -> bool:
    return fit.settings.adapter.name in resolved.named


def _fits_without_settings(fit: MethodFit, opened: OpenedPair, resolved: ResolvedRequest) -> bool:
    """Return whether a method would fit a pair without the settings that the request gives it."""
    request, method = resolved.request, type(fit.settings.adapter)
    others = {k: v for k, v in request.set.items() if not k.startswith(f"{method.name}.")}
    if others == request.set:
        return False
    plain = request.model_copy(update={"set": others})
    settings, _ = attempt(resolve_method, method, opened.preset, plain, resolved.tuned)
    return settings is not None and _method_fit(opened, settings, plain).reason is None


def _batch_problems(
    opened: OpenedPair, network: Network, role: str, *, size: tuple[int, int], batch: int
) -> list[str]:
    """Return the problem if BatchNorm sees one value per channel, which has no variance."""
    height, width = size
    if batch * ceil(height / 32) * ceil(width / 32) >= 2 or not _has_batchnorm(network):
        return []
    setting = "training.batch" if role == "source" else "batch"
    return [
        f"{opened.pair.name}: the last backbone stage has only one value per channel for a batch "
        f"of {batch} {role} image of {height}x{width}, so batch statistics are undefined; use "
        f"larger images (--set data.sizes.{role}=[H, W]) or a larger batch (--set {setting}=N)"
    ]


def _size_problems(opened: OpenedPair, role: str, size: tuple[int, int]) -> list[str]:
    model = opened.preset.model
    error = forward_error(model, channels_of(opened), size)
    if error is None:
        return []
    setting = size_remedy(model, channels_of(opened), [size])
    return [
        f"{opened.pair.name}: {model.label} cannot take the {role}'s images of "
        f"{size[0]}x{size[1]} ({error}); use {f'{setting}, ' if setting else ''}another network or "
        f"other sizes (--set data.sizes.{role}=[H, W])"
    ]


def _sharing_problems(opened: OpenedPair, network: Network, resolved: ResolvedRequest) -> list[str]:
    """Return the reasons why several devices cannot train source models of the pair together."""
    devices, batch = resolved.request.train_devices, opened.preset.training.batch
    if devices == 1 or resolved.weights is not None:
        return []
    problems: list[str] = []
    if batch < devices:
        problems.append(
            f"{opened.pair.name}: --train-devices {devices} needs batches of at least {devices} "
            f"source images, and they have {batch}; use fewer devices or --set training.batch=N"
        )
    if random := random_layer(network):
        problems.append(
            f"{opened.pair.name}: {opened.preset.model.label} draws random numbers in {random}, "
            "which would be others on several devices; use --train-devices 1 or set the rate to 0 "
            "in model.backbone_args or model.architecture_args"
        )
    return problems


def _has_batchnorm(network: nn.Module) -> bool:
    return any(isinstance(module, BATCH_NORMS) for module in network.modules())


def _undefined(adapter: Adapter, request: Request) -> tuple[str, ...]:
    """Return those of the requested protocols that a method is not defined for."""
    allowed = needs_of(adapter).protocols
    return tuple(one for one in request.protocol if allowed and one not in allowed)


def _smallest_batch(opened: OpenedPair) -> int:
    return min(map(len, opened.batches))


def _wrong_batches(opened: OpenedPair, size: int) -> str | None:
    """Return that not all batches have `size` images, in words; None if all have."""
    found = sorted({len(batch) for batch in opened.batches})
    if found == [size]:
        return None
    joint = " or " if len(found) == 2 else " to "
    have = joint.join(map(str, dict.fromkeys((found[0], found[-1]))))
    if found[-1] > opened.preset.batch:
        have += ": a last batch of one image joins the one before"
    remedy = f"--set batch={size}"
    if any(len(batch) != size for batch in target_batches(opened.target_data, size)):
        remedy += f", and a multiple of {size} target images"
    images = f"{size} image{'s' if size > 1 else ''}"
    return f"needs batches of {images}, and the target's have {have} ({remedy})"


def _unmet_need(opened: OpenedPair, adapter: Adapter, request: Request) -> str | None:
    needs = needs_of(adapter)
    missing = [task for task in canonical(needs.tasks) if task not in opened.tasks]
    if missing:
        chosen = opened.preset.data.tasks
        lacks = "data.tasks does not name" if chosen else "the pair does not have"
        return f"needs {', '.join(missing)}, which {lacks}"
    if len(_undefined(adapter, request)) == len(request.protocol):
        allowed = " or ".join(sorted(needs.protocols))
        return f"needs the protocol {allowed} (--protocol {sorted(needs.protocols)[0]})"
    if needs.batch is not None and (wrong := _wrong_batches(opened, needs.batch)):
        return wrong
    smallest, side = _smallest_batch(opened), min(opened.target_data.size)
    if smallest < needs.min_batch:
        return f"needs batches of at least {needs.min_batch} images, the smallest has {smallest}"
    if side < needs.min_side:
        return (
            f"needs images of at least {needs.min_side} pixels per side, the target's have {side}"
        )
    if request.source_weights is not None and trains_on_source(adapter):
        return (
            "needs its own source training, which the model from --source-weights has not had; "
            "drop the method or --source-weights"
        )
    return None
