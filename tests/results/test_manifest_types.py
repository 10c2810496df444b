"""The types of the settings in a manifest."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ttt_bench.adapter import Optimiser
from ttt_bench.results.records import Manifest

OPTIMISER: TypeAdapter[Any] = TypeAdapter(Manifest.model_fields["optimiser"].annotation)


@pytest.mark.parametrize("settings", [Optimiser(), Optimiser(rates={"model.heads.*": 10.0})])
def test_every_setting_of_an_optimiser_is_allowed(settings: Optimiser) -> None:
    assert OPTIMISER.validate_python(settings.model_dump(mode="json")) == settings.model_dump()


@pytest.mark.parametrize("value", [[1], {"model.heads.*": "fast"}, {"a": [1]}])
def test_settings_of_other_types_are_damage(value: Any) -> None:
    with pytest.raises(ValidationError):
        OPTIMISER.validate_python({"lr": value})
