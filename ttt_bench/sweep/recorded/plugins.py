"""The method, data sets, network and backbone that a cell uses, as its manifest states them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm import is_model
from timm.models import model_entrypoint

from ttt_bench.adapter import Adapter
from ttt_bench.config.preset import ModelConfig
from ttt_bench.data.domains import Domain
from ttt_bench.data.registry import DATASETS
from ttt_bench.model.architecture import network_class
from ttt_bench.model.weights import initial_weights
from ttt_bench.registry import METHODS, NETWORKS
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.util.code.files import package_of
from ttt_bench.util.code.plugins import Entry
from ttt_bench.util.hashing import harness_hash, versions

HARNESS = "ttt-bench"
"""The package of data sets that a data root declares."""


def plugin_records(
    opened: OpenedPair, adapter: Adapter, config: Mapping[str, Any], *, trained_here: bool
) -> dict[str, dict[str, str | None]]:
    """Return what a cell used: role -> name, package, version and hash of the code.

    `code` is the harness's hash for built-in data sets, and None for backbones that timm or a
    network makes.

    Args:
        opened: the pair.
        adapter: the method.
        config: the cell's configuration, which has the hashes of the time of planning.
        trained_here: whether source models started from the backbone's initial weights, which are
            then stated as `weights`.
    """
    source, target = opened.pair.source, opened.pair.target
    model = opened.preset.model
    weights = initial_weights(model) if trained_here else {"weights": None}
    return {
        "method": _method_record(adapter, config["code"]),
        "source": _dataset_record(source, opened.source_code),
        "target": _dataset_record(target, opened.target_code),
        "network": _network_record(model, config["model"]["network_code"]),
        "backbone": _backbone_record(model, config["model"].get("backbone_code")) | weights,
    }


def _method_record(adapter: Adapter, code: str) -> dict[str, Any]:
    package = _package(METHODS.entry(adapter.name), type(adapter).__module__)
    return _record(adapter.name, *package, code=code)


def _dataset_record(domain: Domain, code: str) -> dict[str, Any]:
    if domain.name not in DATASETS.names():  # declared in a data root
        version = versions().get(HARNESS, "")
        return _record(domain.name, HARNESS, version, code=code or harness_hash())
    entry, module = DATASETS.entry(domain.name), domain.opener.partition(":")[0]
    return _record(domain.name, *_package(entry, module), code=code or harness_hash())


def _network_record(model: ModelConfig, code: str) -> dict[str, Any]:
    entry, module = NETWORKS.entry(model.architecture), network_class(model).__module__
    return _record(model.architecture, *_package(entry, module), code=code)


def _backbone_record(model: ModelConfig, code: str | None) -> dict[str, Any]:
    """Return the record of a backbone of timm; one that a network makes is in the same package."""
    known = is_model(model.backbone_name)
    maker = model_entrypoint(model.backbone_name) if known else network_class(model)
    package = package_of(maker.__module__)
    return _record(model.backbone, *package, code=code)


def _package(entry: Entry, module: str) -> tuple[str, str]:
    """Return the package of a registration and its version."""
    if not entry.package:  # registered in this process
        return package_of(module)
    return entry.package, entry.version or versions().get(entry.package, "")


def _record(name: str, package: str, version: str, *, code: str | None) -> dict[str, Any]:
    return {"name": name, "package": package, "version": version, "code": code}
