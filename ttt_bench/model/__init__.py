"""The shared multi-task network, its weights, BatchNorm modes and parameter counts."""

from ttt_bench.model.architecture import build_model
from ttt_bench.model.backbone import timm_backbone
from ttt_bench.model.batchnorm import (
    AFFINE_NORMS,
    BATCH_NORMS,
    NormController,
    affine_parameters,
    mixed_statistics,
    robust_batch_norm,
    running_statistics,
    set_norm,
)
from ttt_bench.model.network import StagedNetwork, linear_weights, resize
from ttt_bench.model.networks.hypercolumn import Hypercolumn
from ttt_bench.model.normalisation import NORMALISATIONS
from ttt_bench.model.parameters import Counts, count_parameters, parameters_of_task
from ttt_bench.model.weights import initial_weights, load_weights
from ttt_bench.network import STAGES, Net, Network, NetworkOptions

__all__ = [
    "AFFINE_NORMS",
    "BATCH_NORMS",
    "NORMALISATIONS",
    "STAGES",
    "Counts",
    "Hypercolumn",
    "Net",
    "Network",
    "NetworkOptions",
    "NormController",
    "StagedNetwork",
    "affine_parameters",
    "build_model",
    "count_parameters",
    "initial_weights",
    "linear_weights",
    "load_weights",
    "mixed_statistics",
    "parameters_of_task",
    "resize",
    "robust_batch_norm",
    "running_statistics",
    "set_norm",
    "timm_backbone",
]
