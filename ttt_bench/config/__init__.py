"""Presets, config files and requests: what a run is asked to do, with one precedence."""

from ttt_bench.config.preset import (
    DataSettings,
    ModelConfig,
    Preset,
    TrainingSettings,
    read_preset,
    resolve_preset,
)
from ttt_bench.config.request import Request, make_request, parse_setting, read_config_file

__all__ = [
    "DataSettings",
    "ModelConfig",
    "Preset",
    "Request",
    "TrainingSettings",
    "make_request",
    "parse_setting",
    "read_config_file",
    "read_preset",
    "resolve_preset",
]
