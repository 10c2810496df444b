"""Checks of a method's description and of its source training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapter import Phase
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import resolve_preset
from ttt_bench.config.reading import parse_setting
from ttt_bench.config.request import Request
from ttt_bench.conformance.expect import ViolationError, demand, losses_fit
from ttt_bench.conformance.random_images import RandomImages
from ttt_bench.conformance.subject import SOURCE_SIZE, Subject, words
from ttt_bench.errors import BenchError
from ttt_bench.network import Net
from ttt_bench.train.chain import training_chain
from ttt_bench.train.stage import StageRun
from ttt_bench.util.text import listed

CARD_FIELDS = ("title", "paper", "source_training", "moves", "sizes", "architecture")


def description(subject: Subject) -> None:
    """Card, options, needs and both sets of hyperparameters are complete and consistent."""
    method = subject.method
    needs_of(subject.adapter)
    empty = [name for name in CARD_FIELDS if not getattr(method.card, name)]
    demand(not empty, f"the card has no text for {', '.join(empty)}")
    for name, field in method.Options.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        demand(
            bool(field.description),
            f"option {name} has no description; declare it with `option(...)`",
        )
        demand(bool(extra.get("citation")), f"option {name} does not say where its default is from")
    for hparams in ("paper", "original"):
        _resolves(subject, f"--hparams {hparams}", Request(hparams=hparams))
    for quirk in method.card.quirks:
        if quirk.option:
            key, value = parse_setting(f"{method.name}.{quirk.option}")
            _resolves(subject, f"the card's {quirk.option}", Request(set={key: value}))


def _resolves(subject: Subject, what: str, request: Request) -> None:
    try:
        resolve_method(subject.method, resolve_preset("paper", {}), request)
    except BenchError as error:
        raise ViolationError(f"{what} does not fit the method's options: {error}") from error


def source_training(subject: Subject) -> None:
    """Every phase has finite scalar losses and trains what it declares, for every set of tasks."""
    for channels in subject.task_sets:
        net, statistics = subject.trained(channels)
        for name, tensor in [*net.state_dict().items(), *statistics.items()]:
            demand(
                bool(torch.isfinite(tensor).all()),
                f"{name} is not finite after a few iterations on {words(channels)}",
            )
        _check_phases(subject, channels)


def _check_phases(subject: Subject, channels: Mapping[str, int]) -> None:
    """Check the auxiliary losses of every phase, and that gradients reach what it trains."""
    net, spec = subject.network(channels), subject.spec(channels)
    images = RandomImages(subject.own(channels), 4, SOURCE_SIZE, seed=3)
    batch = images.batch(range(4)).to(subject.device)
    trained: set[str] = set()
    reached: set[str] = set()
    for stage in training_chain(spec, subject.adapter):
        if stage.adapter is None:  # supervised training without the method
            continue
        net.zero_grad()
        run = StageRun(net, stage, spec, subject.device)
        run.ctx.seed(0, subject.method.name)
        terms = run.auxiliary_terms(batch, *run.forward(batch))
        _check_terms(terms, stage.phase, net)
        total = torch.stack(list(terms.values())).sum()
        if total.requires_grad:
            total.backward()
        trained |= _parts(net, subject, stage.phase, lambda _: True)
        reached |= _parts(net, subject, stage.phase, lambda parameter: parameter.grad is not None)
    missed = listed(sorted(trained - reached))
    demand(not missed, f"declares to train {missed}, but no auxiliary loss has a gradient there")


def _check_terms(terms: Mapping[str, Tensor], phase: Phase, net: Net) -> None:
    tasks = {name.rpartition("/")[2] for name in terms if "/" in name}
    unknown = listed([name for name in sorted(tasks) if name not in net.model.tasks])
    demand(not unknown, f"losses of phase {phase.name} are for {unknown}, not tasks of the pair")
    losses_fit(terms, f"in phase {phase.name}")


def _parts(net: Net, subject: Subject, phase: Phase, counts: Callable[[Tensor], bool]) -> set[str]:
    """Return the parts that a phase trains and that have a parameter for which `counts` holds.

    Parts are the method's modules, and the network unless the task losses train it.
    """
    found: set[str] = set()
    if "extra" in phase.trains and net.extra is not None:
        found |= {
            f"extra.{name.partition('.')[0]}"
            for name, parameter in net.extra.named_parameters()
            if name not in subject.method.uncounted and counts(parameter)
        }
    network_alone = "model" in phase.trains and not phase.supervised
    if network_alone and any(counts(parameter) for parameter in net.model.parameters()):
        found.add("model")
    return found
