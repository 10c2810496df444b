"""The shared multi-task network, its weights, BatchNorm modes and parameter counts."""

from ttt_bench.model.backbone import build_model
from ttt_bench.model.batchnorm import (
    AFFINE_NORMS,
    BATCH_NORMS,
    NormController,
    affine_parameters,
    running_statistics,
    set_norm,
)
from ttt_bench.model.network import NORMALISATIONS, MultiTaskModel, linear_weights, resize
from ttt_bench.model.parameters import Counts, count_parameters
from ttt_bench.model.weights import initial_weights, load_weights
from ttt_bench.network import STAGES, Net, Network

__all__ = [
    "AFFINE_NORMS",
    "BATCH_NORMS",
    "NORMALISATIONS",
    "STAGES",
    "Counts",
    "MultiTaskModel",
    "Net",
    "Network",
    "NormController",
    "affine_parameters",
    "build_model",
    "count_parameters",
    "initial_weights",
    "linear_weights",
    "load_weights",
    "resize",
    "running_statistics",
    "set_norm",
]
