"""Presets, config files and requests: everything that a run is asked to do."""

from ttt_bench.config.merging import default_data_root, make_request
from ttt_bench.config.preset import (
    DataSettings,
    ModelConfig,
    Preset,
    TrainingSettings,
    read_preset,
    resolve_preset,
)
from ttt_bench.config.reading import parse_setting, read_config_file
from ttt_bench.config.request import Request, choices

__all__ = [
    "DataSettings",
    "ModelConfig",
    "Preset",
    "Request",
    "TrainingSettings",
    "choices",
    "default_data_root",
    "make_request",
    "parse_setting",
    "read_config_file",
    "read_preset",
    "resolve_preset",
]
