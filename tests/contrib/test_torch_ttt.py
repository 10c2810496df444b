"""Engines of torch-ttt as methods, compared with this package's methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.fakes import TARGET, tiny_net
from torch_ttt.engine.actmad_engine import ActMADEngine
from torch_ttt.engine.tent_engine import TentEngine
from torch_ttt.engine.ttt_engine import TTTEngine
from torch_ttt.engine_registry import EngineRegistry

from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Norm, Optimiser
from ttt_bench.conformance import check_method
from ttt_bench.contrib import from_torch_ttt
from ttt_bench.contrib.torch_ttt import UNFIT
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.methods.tent import Tent
from ttt_bench.train.chain import trains_on_source

TheirTent = from_torch_ttt(TentEngine, name="torch_ttt_tent")
TheirActMAD = from_torch_ttt(
    ActMADEngine, name="torch_ttt_actmad", features_layer_names=["backbone.layer4"]
)
OF_TINY = from_torch_ttt(
    ActMADEngine, name="tiny_actmad", features_layer_names=["backbone.norms.3"]
)
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3)).double()


def session(adapter: Adapter, statistics: Any = None) -> Session:
    return Session(
        tiny_net(adapter),
        adapter,
        target=TARGET,
        optimiser=Optimiser(lr=0.1),
        statistics=statistics or {},
        recipe=RECIPES["weighted"],
        seed=0,
    )


class RunningTent(Tent):
    """Our TENT under the running statistics, which torch-ttt's engine uses in eval mode."""

    def bind(self, *args: Any) -> Any:
        plan = super().bind(*args)
        return type(plan)(moves=plan.moves, adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True)


def test_tent_equals_ours_under_running_statistics() -> None:
    theirs, ours = session(TheirTent()), session(RunningTent())
    for one in (theirs, ours):
        one.begin_batch(0, IMAGES)
    assert theirs.moved.keys() == ours.moved.keys()
    for _ in range(3):
        found, expected = theirs.adapt(IMAGES), ours.adapt(IMAGES)
        assert float(found["engine"]) == pytest.approx(float(expected["entropy"]), rel=1e-12)
    for name, parameter in ours.moved.items():
        torch.testing.assert_close(theirs.moved[name], parameter, rtol=1e-10, atol=1e-12)


def test_tent_differs_from_ours_in_its_statistics() -> None:
    ours = session(Tent())
    assert session(TheirTent()).plan.adapt is Norm.RUNNING
    assert ours.plan.adapt is Norm.BATCH


def test_statistics_of_actmad_are_those_of_the_source() -> None:
    net = tiny_net(OF_TINY())
    source = [IMAGES, IMAGES.flip(3)]
    with torch.no_grad():
        found = OF_TINY().source_statistics(net.eval(), source, None)  # type: ignore[arg-type]
        features = torch.cat([net.model.backbone(net.model.normalise(x))[3] for x in source])
    # the layer before the ReLU: only where it is positive do both agree
    positive = features.min(dim=0).values > 0
    assert found.keys() == {"reference_mean.0", "reference_var.0"}
    assert positive.any()
    torch.testing.assert_close(found["reference_mean.0"][positive], features.mean(dim=0)[positive])
    one = session(OF_TINY(), found)
    one.begin_batch(0, IMAGES)
    with torch.no_grad():
        stage = net.model.backbone(net.model.normalise(IMAGES))[3]
    assert torch.isfinite(stage).all()
    assert float(one.adapt(IMAGES)["engine"]) > 0


def test_its_step_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    net = tiny_net(OF_TINY())
    with torch.no_grad():
        found = OF_TINY().source_statistics(net.eval(), [IMAGES], None)  # type: ignore[arg-type]
    session(OF_TINY(), found).adapt(IMAGES)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "deviations"),
    # ActMAD's engine keeps the source's mean at every position, so it takes images of one size
    [(TheirTent, set()), (TheirActMAD, {"shapes"})],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_the_checks_show_known_deviations(method: type[Adapter], deviations: set[str]) -> None:
    assert {one.check for one in check_method(method) if not one.passed} == deviations
    assert not trains_on_source(method())


def test_an_instance_is_refused() -> None:
    with pytest.raises(BenchError, match="is not a class with `ttt_forward`"):
        from_torch_ttt(TentEngine(torch.nn.Conv2d(1, 1, 1)), name="tent")  # type: ignore[arg-type]


ENGINES = {engine.__name__: engine for engine in EngineRegistry._registry.values()}


def test_every_engine_is_refused_or_one_that_works() -> None:
    assert ENGINES.keys() == {*UNFIT, "TentEngine", "ActMADEngine"}


@pytest.mark.parametrize("name", ENGINES)
def test_the_page_names_every_engine(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/adding-a-method.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line)
    assert ("| refused" in row) == (name in UNFIT)


@pytest.mark.parametrize("name", UNFIT)
def test_engines_that_do_not_fit_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(BenchError, match=f"{name} cannot be a method: .*; use TentEngine") as found:
        from_torch_ttt(ENGINES[name], name="theirs")
    assert UNFIT[name] in str(found.value)


def test_a_subclass_with_its_own_step_is_taken() -> None:
    class Own(TTTEngine):
        def ttt_forward(self, inputs: torch.Tensor) -> Any:
            return super().ttt_forward(inputs)

    class Inherits(TTTEngine):
        pass

    assert from_torch_ttt(Own, name="own").name == "own"
    with pytest.raises(BenchError, match="Inherits cannot be a method"):
        from_torch_ttt(Inherits, name="inherits")
