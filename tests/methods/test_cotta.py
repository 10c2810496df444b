"""CoTTA: steps by hand and by the authors' code, the teacher, restoring, and the threshold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.author_net import author_session
from support.fakes import random_images, tiny_net, tiny_session
from support.golden_cases import assert_close, cases
from support.plain import PlainNet, assert_same_predictions, upsampled
from support.settings import assert_settings
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.losses import RECIPES
from ttt_bench.methods.cotta import CoTTA, CoTTAOptions, view_size

SIZE, VIEWS = (64, 64), [(48, True), (48, False), (64, True), (64, False)]
RATE, SHARE = 0.15, 0.9


class Given:
    """A stream of uniform numbers that are given, or 0, 0.1, ..., 0.9 again and again."""

    def __init__(self, numbers: Tensor | None = None) -> None:
        self.numbers = numbers

    def uniform_like(self, x: Tensor) -> Tensor:
        if self.numbers is None:
            return (torch.arange(x.numel()) % 10 / 10).view_as(x)
        taken, self.numbers = self.numbers.split([x.numel(), len(self.numbers) - x.numel()])
        return taken.view_as(x)


def with_uniforms(session: Session, numbers: Tensor | None = None) -> Session:
    stream = Given(numbers)
    session.ctx.stream = lambda name: stream  # type: ignore[assignment, method-assign, return-value]
    return session


def view_by_hand(teacher: PlainNet, images: Tensor, side: int, mirrored: bool) -> dict[str, Tensor]:
    """Return the teacher's outputs on a view, in the place of the images' pixels."""
    view = upsampled(images, (side, side))
    outputs = teacher.predict(view.flip(3) if mirrored else view, "batch")
    found = {task: upsampled(output, SIZE) for task, output in outputs.items()}
    if mirrored:
        found = {task: output.flip(3) for task, output in found.items()}
        found["normals"] = torch.cat([-found["normals"][:, :1], found["normals"][:, 1:]], dim=1)
    return found


def losses_by_hand(
    student: PlainNet, teacher: PlainNet, sure: Tensor, images: Tensor, options: CoTTAOptions
) -> dict[str, Tensor]:
    views = [view_by_hand(teacher, images, *view) for view in VIEWS]
    plain, hard = teacher.predict(images, "batch"), options.kind == "hard"
    logits = [view["semseg"].exp() for view in views]
    if hard:
        logits = [each / each.sum(dim=1, keepdim=True) for each in logits]
        averaged = (sum(logits) / len(logits)).log()
    else:
        averaged = sum(each.log() for each in logits) / len(logits)
    target = torch.where(sure, plain["semseg"], averaged)
    outputs = student.outputs(student.stages(images, "batch"), SIZE)
    weights = F.one_hot(target.argmax(1), 3).movedim(3, 1) if hard else target.softmax(1)
    found = {"semseg": -(weights * outputs["semseg"].log_softmax(1)).sum(1).mean()}
    for task in ("depth", "normals", "edge") if options.tasks == "all" else ():
        mean = sum(view[task] for view in views) / len(views)
        constant = torch.where(sure, plain[task], mean)
        found[task] = ((outputs[task] - constant) ** 2 / 2).sum(1).mean()
    return found


@pytest.mark.parametrize(("kind", "tasks"), [("hard", "semseg"), ("soft", "all")])
def test_two_steps_by_hand(kind: Any, tasks: Any) -> None:
    options = CoTTAOptions(
        kind=kind, tasks=tasks, threshold=0.42, scales=(0.75, 1.0), share=SHARE, rate=RATE
    )
    adapter, images = CoTTA(options), random_images()
    session = with_uniforms(tiny_session(adapter, Optimiser(lr=0.5)))
    student, teacher, source = (PlainNet(tiny_net(adapter)) for _ in range(3))
    confidence = source.predict(images, "batch")["semseg"].softmax(1).amax(1, keepdim=True)
    sure = confidence > 0.42
    assert 0.1 < sure.double().mean() < 0.9, "both kinds of pixels count"

    def moves(name: str) -> bool:
        return name.startswith(("model.backbone.", "model.heads.semseg.")) or tasks == "all"

    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, teacher.predict(images, "batch"))
        if k < 2:
            wanted = losses_by_hand(student, teacher, sure, images, options)
            assert losses.keys() == wanted.keys()
            for name, loss in wanted.items():
                assert losses[name].item() == pytest.approx(loss.item(), rel=1e-10)
            student.descend(torch.stack(list(wanted.values())).sum(), moves, lr=0.5)
            with torch.no_grad():
                for name in filter(moves, student.p):
                    own = student.p[name]
                    teacher.p[name] += (1 - SHARE) * (own - teacher.p[name])
                    own.view(-1)[0::10] = source.p[name].view(-1)[0::10]
                    own.view(-1)[1::10] = source.p[name].view(-1)[1::10]
                    buffer = name.removeprefix("model.").replace(".", "/")
                    student.b[f"extra.{buffer}"] = teacher.p[name]
    student.assert_equal(session.net)
    assert not torch.allclose(
        predictions["semseg"], source.predict(images, "batch")["semseg"], rtol=1e-3
    ), "it moved"


def test_the_authors_trajectory() -> None:
    case = cases("trajectories/cotta")[0]
    given = case.inputs
    options = CoTTAOptions(
        kind="soft",
        decision="batch",
        threshold=given["threshold"],
        scales=(1.0,) * 16,
        share=given["share"],
        rate=given["rate"],
        predict="target",
    )
    images = given["images"]
    session = author_session(
        CoTTA(options), given["net"], images, Optimiser(optimiser="adam", lr=given["lr"])
    )
    for number, (batch, uniforms) in enumerate(zip(images, given["uniforms"], strict=True)):
        with_uniforms(session, uniforms).begin_batch(number, batch)
        _, predictions, _ = next(steps := session.trajectory(batch, 1))
        assert_close(predictions["semseg"], case.outputs["targets"][number], case)
        exhaust(steps)
    student = dict(session.net.model.layers.named_parameters())
    assert_close(student, case.outputs["student"], case)
    teacher = {
        name.removeprefix("layers."): tensor for name, tensor in session.net.extra.by_name().items()
    }
    assert_close(teacher, case.outputs["teacher"], case)


def exhaust(steps: Iterator[Any]) -> None:
    for _ in steps:
        pass


def test_a_reset_restores_student_and_teacher() -> None:
    adapter = CoTTA(CoTTAOptions(threshold=0.5, share=SHARE, scales=(1.0,)))
    session = tiny_session(adapter, Optimiser(optimiser="adam", lr=0.1))
    exhaust(session.trajectory(random_images(), 2))
    session.reset()
    PlainNet(tiny_net(adapter)).assert_equal(session.net, rtol=0, atol=0)


def test_without_a_learning_rate_nothing_moves() -> None:
    adapter = CoTTA(CoTTAOptions(threshold=0.5, scales=(1.0,)))
    session = tiny_session(adapter, Optimiser(lr=0.0))
    exhaust(session.trajectory(random_images(), 2))
    PlainNet(tiny_net(adapter)).assert_equal(session.net, rtol=0, atol=0)


def test_the_automatic_threshold_is_a_low_quantile_of_the_sources_confidence() -> None:
    adapter, batches = CoTTA(), [random_images(2, seed=3), random_images(3, seed=4)]
    net = tiny_net(adapter)
    ctx = HarnessContext(net, RECIPES["weighted"])
    ctx.norms.set(Norm.RUNNING)
    with torch.no_grad():
        found = adapter.source_statistics(net, iter(batches), ctx)
    plain = PlainNet(net)
    confidence = torch.cat(
        [plain.predict(x, "batch")["semseg"].softmax(1).amax(1) for x in batches]
    )
    for name, values in (("pixel", confidence.flatten()), ("batch", confidence.mean((1, 2)))):
        ranked = values.sort().values
        assert found[name].item() + 0.05 == pytest.approx(
            torch.quantile(ranked, 0.05).item(), abs=1e-4
        )
    for decision in ("pixel", "batch"):
        session = tiny_session(
            CoTTA(CoTTAOptions(decision=decision)), Optimiser(), statistics=found
        )
        assert session.adapter.bound.threshold is found[decision]
    assert adapter.source_pass().images == 512
    assert CoTTA(CoTTAOptions(threshold=0.7)).source_pass() is None


def test_normalisation_and_cost() -> None:
    options = CoTTAOptions(threshold=0.5, scales=(0.75, 1.25), norm_adapt="running")
    session = tiny_session(CoTTA(options), Optimiser())
    assert session.plan.adapt is session.plan.predict is Norm.RUNNING
    area = 2 * (48 * 72 + 80 * 120) / (64 * 96)
    assert session.adapter.passes(2) == ((2 + area) * 2, 2, 4)


def test_views_are_no_smaller_than_a_cell_of_the_last_stage() -> None:
    sizes = [(61, 47), (33, 70), (24, 24)]
    assert [view_size(size, 0.5) for size in sizes] == [(32, 32), (32, 35), (24, 24)]


def test_settings() -> None:
    assert_settings(
        CoTTA,
        optimiser="adam",
        lr=7.5e-6,
        steps=1,
        options={
            "threshold": 0.69,
            "scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
            "norm_adapt": "running",
            "predict": "target",
        },
    )
    assert len(CoTTAOptions(**CoTTA.original.options).views) == 14
