"""The published hyperparameters against those that the methods and the preset `paper` have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ttt_bench.results.published as package
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.registry import METHODS
from ttt_bench.results.method_names import PAPERS
from ttt_bench.results.published.hyperparameters import departures, published_settings

FILE = Path(package.__file__).with_name("hyperparameters.csv")


def of_preset(method: str, **request: Any) -> dict[str, Any]:
    """Return what a method uses under the preset `paper`."""
    preset = resolve_preset("paper", {})
    settings = resolve_method(METHODS.load(method), preset, Request(**request))
    return {**settings.values(), "steps": settings.steps, "batch": preset.batch}


def test_every_line_of_the_file_is_read() -> None:
    _, *lines = FILE.read_text(encoding="utf-8").splitlines()
    assert [",".join(vars(one).values()) for one in published_settings()] == lines


@pytest.mark.parametrize("method", PAPERS)
def test_a_method_has_the_published_hyperparameters(method: str) -> None:
    own = of_preset(method)
    for one in published_settings():
        if one.method in ("all", method) and "." not in one.setting:
            value = own[one.setting]
            assert value == one.value or float(one.value) == value, one
    assert not departures(method, own)


def test_the_preset_paper_trains_as_s4t_states() -> None:
    training = resolve_preset("paper", {}).training.model_dump()
    stated = {
        one.setting.removeprefix("training."): float(one.value)
        for one in published_settings()
        if one.paper == "S4T" and one.setting.startswith("training.")
    }
    assert stated == {name: training[name] for name in stated}
    assert stated.keys() == {"lr", "weight_decay", "batch", "iterations"}


def test_authors_settings_differ_from_the_common_protocol() -> None:
    assert departures("tent", of_preset("tent", hparams="original")).keys() == {
        "optimiser",
        "lr",
        "weight_decay",
        "steps",
    }
    assert departures("s4t", {"lr": 2e-5, "mask_ratio": 0.5}).keys() == {"mask_ratio"}
