"""The network of a configuration: its class, its options, and what identifies it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from timm import is_model
from timm.models import model_entrypoint

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.model.network import StagedNetwork
from ttt_bench.network import Network, NetworkOptions
from ttt_bench.registry import NETWORKS
from ttt_bench.tasks import canonical
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.hashing import code_hash, with_code
from ttt_bench.util.input.validation import validated
from ttt_bench.util.process import watched


def build_model(config: ModelConfig, tasks: Mapping[str, int]) -> StagedNetwork:
    """Return the shared network of a configuration.

    Heads, and a backbone without weights, are initialised from the global random state.

    Args:
        config: the configuration.
        tasks: task -> output channels, in canonical order.

    Raises:
        BenchError: the network is unknown, an option is not allowed, it has no head for a task, or
            its backbone or weights are not available.
    """
    return build_network(network_class(config), config, tasks)


def build_network(
    kind: type[Network], config: ModelConfig, tasks: Mapping[str, int]
) -> StagedNetwork:
    """Return a network of a class; the name in the configuration does not matter."""
    _check_heads(kind, tasks)
    config, options = _with_own_backbone(kind, config), network_options(kind, config)
    try:
        with watched(f"network {kind.name}"):
            backbone, channels = kind.make_backbone(config, options)
            network = kind(backbone, channels, tasks, options)
    except BenchError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise BenchError(
            f"network {config.label} cannot be built: {describe(error, kind)}"
        ) from error
    modules: Iterator[Any] = network.modules()
    for module in modules:
        # a method may read a layer's output in a hook; an in-place activation would overwrite it
        if hasattr(module, "inplace"):
            module.inplace = False
    return cast(StagedNetwork, network)


def _check_heads(kind: type[Network], tasks: Mapping[str, int]) -> None:
    missing = tasks.keys() - (tasks.keys() if kind.head_tasks is None else kind.head_tasks)
    if missing:
        raise BenchError(
            f"network {kind.name} has no head for {', '.join(canonical(missing))}; use another "
            "network (--set model.architecture=NAME) or a pair without these tasks"
        )


def network_class(config: ModelConfig) -> type[Network]:
    """Return the class of a configuration's network.

    Raises:
        BenchError: no network has that name, or it is not valid.
    """
    return NETWORKS.load(config.architecture)


def network_options(kind: type[Network], config: ModelConfig) -> NetworkOptions:
    """Return the options that a configuration gives to a class of networks.

    Raises:
        BenchError: an option is unknown (with the nearest names), or its value is not allowed.
    """
    place = "setting model.architecture_args.{}".format
    return validated(kind.Options, config.architecture_args, place)


def _with_own_backbone(kind: type[Network], config: ModelConfig) -> ModelConfig:
    own = kind.own_backbone
    return config.model_copy(update={"backbone": own}) if own else config


def resolved_model(config: ModelConfig) -> ModelConfig:
    """Return the configuration with the backbone that is used: a network may have its own.

    Raises:
        BenchError: the network is unknown, an option is unknown (with the nearest names), or its
            value is not allowed.
    """
    kind = network_class(config)
    network_options(kind, config)
    return _with_own_backbone(kind, config)


def network_fields(config: ModelConfig) -> dict[str, Any]:
    """Return everything that a network depends on besides its initial weights."""
    kind = network_class(config)
    used = _with_own_backbone(kind, config)
    return {
        **used.model_dump(mode="json", exclude={"weights"}),
        "architecture_args": network_options(kind, config).model_dump(mode="json"),
        "network_code": code_hash(kind, kind.Options),
        **with_code(_backbone_code(used.backbone_name), "backbone_code"),
    }


def _backbone_code(name: str) -> str:
    """Return a hash of the code of a backbone that another package registered with timm.

    It is empty for backbones of timm, and for those that a network makes itself.
    """
    if not is_model(name):
        return ""
    build = model_entrypoint(name)
    own = build.__module__.partition(".")[0] == "timm"
    return "" if own else code_hash(build)
