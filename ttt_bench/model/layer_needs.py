"""Layers that a method needs of a network, and an option that avoids the need."""

from __future__ import annotations

from collections.abc import Callable

from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import alternatives
from ttt_bench.model.batchnorm import AFFINE_NORMS, BATCH_NORMS, affine_parameters
from ttt_bench.network import Network


def missing_layers(adapter: Adapter, model: Network, label: str) -> str | None:
    """Return the layers that a method needs and a network lacks, in words, with a remedy.

    Args:
        adapter: the method.
        model: the network.
        label: the network in words.
    """
    found = _missing(adapter, model, label)
    return found and found + remedy(adapter, lambda other: _missing(other, model, label))


def remedy(adapter: Adapter, unmet: Callable[[Adapter], str | None]) -> str:
    """Return a hint at an option with which a need is met; empty if no single option does it.

    Args:
        adapter: the method.
        unmet: returns the unmet need of the method with other options, or None.
    """
    found = (setting for setting, other in alternatives(adapter) if unmet(other) is None)
    setting = next(found, None)
    return f"; --set {setting} avoids this" if setting else ""


def _missing(adapter: Adapter, model: Network, label: str) -> str | None:
    needs = adapter.needs()
    if needs.batchnorm and not affine_parameters(model, BATCH_NORMS):
        return f"needs BatchNorm layers, which {label} does not have"
    if needs.affine and not affine_parameters(model, AFFINE_NORMS):
        return f"needs normalisation layers with scale and shift, which {label} does not have"
    return None
