"""Numbers of parameters of every method on a network."""

from __future__ import annotations

from typing import Any

from support.notices import Notices
from support.toy import Toy

from ttt_bench.config.preset import ModelConfig
from ttt_bench.describe.parameters import parameter_rows


class Freezes(Toy):
    """Freezes all parameters that it does not move, as engines of other libraries do."""

    name = "freezes"

    def bind(self, net: Any, *args: Any) -> Any:
        plan = super().bind(net, *args)
        net.requires_grad_(requires_grad=False)
        return plan


class Unbuilt(Toy):
    name = "unbuilt"

    def build(self, *args: Any) -> Any:
        raise ZeroDivisionError("a bug")


def rows(tasks: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return method -> row, and the notices."""
    display = Notices()
    model = ModelConfig(backbone="test_resnet", pretrained=False)
    found = parameter_rows(model, tasks, classes=7, settings={}, progress=display)
    return {row["method"]: row for row in found}, display.notices


def test_parameters_that_a_method_freezes_are_counted(register: Any) -> None:
    register(Freezes, Toy)
    found, _ = rows(["depth"])
    for key in ("total", "backbone", "heads", "added", "moved"):
        assert found["freezes"][key] == found["toy"][key], key
    assert found["toy"]["backbone"] > 0


def test_methods_that_cannot_be_counted_are_named_and_left_out(register: Any) -> None:
    register(Unbuilt)
    found, notices = rows(["depth", "normals"])
    assert not {"tent", "eata", "rotta", "unbuilt"} & set(found)
    assert {"base", "tipi", "s4t"} <= set(found)
    assert "left out: eata: needs semseg, which --tasks does not name" in notices
    (line,) = [notice for notice in notices if "unbuilt" in notice]
    assert line.startswith("left out: unbuilt: ZeroDivisionError: a bug (test_parameter_rows.py:")
