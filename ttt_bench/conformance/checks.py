"""The checks, one function each: it takes a `Subject` and raises `ViolationError` with what is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import SHARED, Adapter, Norm, Phase, SourceStep
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import resolve_preset
from ttt_bench.config.request import Request, parse_setting
from ttt_bench.conformance.instruments import (
    DescentError,
    HostDecisionError,
    NoHostDecisions,
    PassCounter,
    RandomImages,
    Recording,
    living_memory,
    no_descent,
)
from ttt_bench.conformance.subject import CHANNELS, RECIPE, SIZES, SOURCE_SIZE, TARGET_SIZE, Subject
from ttt_bench.errors import BenchError
from ttt_bench.model.batchnorm import running_statistics
from ttt_bench.network import Batch, Net

STEPS = 3
CUDA_TOLERANCE = 0.01
Predictions = list[dict[str, Tensor]]
from ttt_bench.protocols import Online


class ViolationError(Exception):
    """The method breaks the contract; the message says how."""


def description(subject: Subject) -> None:
    """Card, options and both sets of hyperparameters are complete and consistent."""
    method = subject.method
    card = method.card
    empty = [
        name
        for name in ("title", "paper", "source_training", "moves", "sizes", "architecture")
        if not getattr(card, name)
    ]
    _demand(not empty, f"the card says nothing of {', '.join(empty)}")
    for name, field in method.Options.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        _demand(
            bool(field.description),
            f"option {name} has no description; declare it with `option(...)`",
        )
        _demand(
            bool(extra.get("citation")), f"option {name} does not say where its default comes from"
        )
    for hparams in ("paper", "original"):
        _resolves(subject, f"--hparams {hparams}", Request(hparams=hparams))
    for quirk in card.quirks:
        if quirk.option:
            key, value = parse_setting(f"{method.name}.{quirk.option}")
            _resolves(subject, f"the card's {quirk.option}", Request(set={key: value}))


def source_training(subject: Subject) -> None:
    """Every phase of source training gives finite scalar losses and trains what it says, with
    and without a task.
    """
    for channels in subject.task_sets:
        net, statistics = subject.trained(channels)
        for name, tensor in [*net.state_dict().items(), *statistics.items()]:
            finite = not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
            _demand(finite, f"{name} is not finite after a few iterations on {_words(channels)}")
        _phases(subject, channels)


def shapes(subject: Subject) -> None:
    """Predictions have the images' size and losses are finite scalars, on rectangular and odd
    sizes, on fewer tasks.
    """
    for channels in subject.task_sets:
        for size in SIZES:
            images = subject.images(size=size)
            session = subject.session(channels, begin=images)
            where = f"on {_words(channels)} at {size[0]}x{size[1]}"
            for _, predictions, losses in _trajectory(session, images, 1):
                _predictions_fit(predictions, subject.own(channels), len(images), size, where)
                _losses_fit(losses, where)


def batch_sizes(subject: Subject) -> None:
    """It works on the smallest batch that it says it takes, and on one more."""
    smallest = subject.adapter.needs().min_batch
    for count in (smallest, smallest + 1):
        images = subject.images(count)
        for _, predictions, _ in _trajectory(subject.session(begin=images), images, 1):
            _predictions_fit(
                predictions, subject.tasks, count, TARGET_SIZE, f"on batches of {count}"
            )


def moves(subject: Subject) -> None:
    """Only the declared parameters and the allowed buffers change, and something does."""
    images = subject.images()
    session = subject.session(begin=images)
    before = _state(session)
    _trajectory(session, images, STEPS)
    changed = {
        name for name, tensor in _state(session).items() if not torch.equal(tensor, before[name])
    }
    parameters = {name for name, _ in session.net.named_parameters()}
    patterns = session.plan.moves
    undeclared = {
        n for n in changed & parameters if not any(fnmatchcase(n, pattern) for pattern in patterns)
    }
    _demand(not undeclared, f"moves {_few(undeclared)}, which its plan does not declare")
    _demand(
        not patterns or bool(changed & parameters),
        "declares moves, but nothing moved in a few steps",
    )
    statistics = {f"model.{name}" for name in running_statistics(session.net.model)}
    own = {name for name in changed - parameters if name.startswith("extra.")}
    stray = changed - parameters - own - {n for n in changed if n.endswith("num_batches_tracked")}
    allowed = statistics if Norm.EMA in (session.plan.adapt, session.plan.predict) else set()
    _demand(
        stray <= allowed,
        f"changes the buffers {_few(stray - allowed)}, though no mode of its plan is `ema`",
    )


def reset(subject: Subject) -> None:
    """A reset restores every parameter and buffer bit for bit, and what follows is what came
    before.
    """
    images = subject.images()
    session = subject.session()
    before = _state(session)
    first = _run(session, images)
    session.reset()
    for name, tensor in _state(session).items():
        _demand(torch.equal(tensor, before[name]), f"{name} is not as it was after a reset")
    _same(
        first,
        _run(session, images),
        "a second run after a reset gives other numbers: something that changes is kept outside parameters and buffers",
    )


def resuming(subject: Subject) -> None:
    """A fresh session that takes over the state of another goes on as that one does."""
    images, following = subject.images(), subject.images(seed=8)
    session = subject.session()
    _run(session, images)
    session.end_batch(images)
    taken = {name: tensor.clone() for name, tensor in session.state().items()}
    first = _run(session, following, number=1)
    fresh = subject.session()
    fresh.restore(taken)
    _same(
        first,
        _run(fresh, following, number=1),
        "a run that was interrupted and resumed gives other numbers: something that changes is kept outside parameters "
        "and buffers",
    )


def seeds(subject: Subject) -> None:
    """Its numbers follow from the seed, whatever the global random state, which it leaves alone."""
    images = subject.images()
    runs = []
    for global_seed in (1, 2):
        session = subject.session()
        with torch.random.fork_rng():
            torch.manual_seed(global_seed)
            before = torch.random.get_rng_state()
            runs.append(_run(session, images))
            _demand(
                torch.equal(before, torch.random.get_rng_state()),
                "draws from the global random state; use ctx.rand",
            )
    _same(runs[0], runs[1], "two runs with the same seed give other numbers: draw from `ctx`")


def labels(subject: Subject) -> None:
    """Other target labels do not change a prediction or a loss."""
    seen = []
    for targets_seed in (0, 1):
        dataset = RandomImages(
            subject.tasks, 2 * subject.batch, TARGET_SIZE, seed=5, targets_seed=targets_seed
        )
        scoring, session = Recording(edge_sigmoid=True, depth_nonnegative=True), subject.session()
        batches = [list(range(i * subject.batch, (i + 1) * subject.batch)) for i in range(2)]
        record = Record(batches=batches, steps=STEPS)
        ProtocolRun(
            session=session,
            dataset=dataset,
            tasks=subject.tasks,
            scoring=scoring,
            record=record,
            device=subject.device,
        ).run(Online())
        losses = [
            {"loss": torch.tensor(value, device=subject.device)} for *_, value in record.losses
        ]
        seen.append([*scoring.seen, *losses])
    _same(seen[0], seen[1], "other target labels give other predictions or losses: labels are read")


def exact(subject: Subject) -> None:
    """Where the plan says so, the predictions of a step are those of a separate prediction with
    the same weights.
    """
    images = subject.images()
    session = subject.session(begin=images)
    if not session.plan.exact or not session.moved:
        return
    for _ in range(STEPS):
        state = {name: tensor.clone() for name, tensor in session.state().items()}
        made = session.step(images).predictions
        if made is None:
            raise ViolationError("claims exact predictions, but its step returns none")
        separate = session.predict(images)
        for task, prediction in separate.items():
            close = torch.allclose(made[task], prediction, rtol=1e-4, atol=1e-5)
            _demand(
                close,
                f"claims exact predictions, but the {task} of a step differs from a separate prediction's",
            )
        session.restore(state)
        session.adapt(images)


def passes(subject: Subject) -> None:
    """A step makes the forward and backward passes that the method states."""
    images = subject.images()
    session = subject.session(begin=images)
    if not session.moved:
        return
    counter = PassCounter()
    with counter.watching(session.net.model):
        session.adapt(images)
    stated, counted = session.adapter.passes(len(images)), counter.passes(len(images))
    _demand(
        tuple(stated) == counted,
        f"states {stated.forwards} forward and {stated.backwards} backward passes up to stage {stated.stages}; counted "
        f"{counted[0]:g} and {counted[1]:g} up to stage {counted[2]} (through `net.model.stages`)",
    )


def memory(subject: Subject) -> None:
    """What it holds does not grow with the steps."""
    images = subject.images()
    session = subject.session(begin=images)
    if not session.moved:
        return
    held = []
    for _ in range(3):  # the first round fills caches
        for _ in range(STEPS):
            session.adapt(images)
        held.append(living_memory(subject.device))
    _demand(
        held[2][0] <= held[1][0] and held[2][1] <= held[1][1],
        f"holds more with every step: {held[1][0]} tensors and {held[1][1]} bytes, {STEPS} steps later {held[2][0]} "
        f"tensors and {held[2][1]} bytes",
    )


def inputs(subject: Subject) -> None:
    """Images are left as they were given."""
    images = subject.images()
    given = images.clone()
    session = subject.session(begin=images)
    _trajectory(session, images, 1)
    session.end_batch(images)
    _demand(torch.equal(images, given), "changes the images that it is given")


def host(subject: Subject) -> None:
    """A step decides nothing on the host: no `.item()`, no branch on values, no shape that
    depends on them.
    """
    with _prepared_step(subject) as step:
        try:
            with NoHostDecisions():
                step()
        except HostDecisionError as error:
            raise ViolationError(
                f"a step needs values on the host (the operation {error})"
            ) from error


def descent(subject: Subject) -> None:
    """A step leaves the descent to the harness: it calls neither `backward` nor an optimiser."""
    with _prepared_step(subject) as step:
        try:
            with no_descent():
                step()
        except DescentError as error:
            raise ViolationError(
                f"a step calls {error}; return the losses, the harness descends"
            ) from error


CHECKS: dict[str, Callable[[Subject], None]] = {
    "description": description,
    "source training": source_training,
    "shapes": shapes,
    "batch sizes": batch_sizes,
    "moves": moves,
    "reset": reset,
    "resuming": resuming,
    "seeds": seeds,
    "labels": labels,
    "exact": exact,
    "passes": passes,
    "memory": memory,
    "inputs": inputs,
    "host": host,
    "descent": descent,
}
"""Every check by its name, in the order in which they run."""


@contextmanager
def _prepared_step(subject: Subject) -> Iterator[Callable[[], object]]:
    """A step ready to be called; one that does nothing where the method makes none."""
    images = subject.images()
    session = subject.session(begin=images)
    yield (lambda: session.step(images)) if session.moved else lambda: None


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ViolationError(otherwise)


def _resolves(subject: Subject, what: str, request: Request) -> None:
    try:
        resolve_method(subject.method, resolve_preset("paper", {}), request)
    except BenchError as error:
        raise ViolationError(f"{what} does not fit its own options: {error}") from error


def _phases(subject: Subject, channels: Mapping[str, int]) -> None:
    """The terms of `source_loss` are finite scalars, and gradients reach what the method's own
    phases train.
    """
    adapter, net = subject.adapter, subject.session(channels).net
    batch = (
        RandomImages(subject.own(channels), 4, SOURCE_SIZE, seed=3)
        .batch(range(4))
        .to(subject.device)
    )
    ctx = HarnessContext(net, RECIPE)
    trained, reached = set(), set()
    for phase in adapter.phases():
        if phase == SHARED:  # supervised training without the method
            continue
        ctx.seed(0, adapter.name)
        terms = _terms(adapter, net, batch, phase, ctx)
        _losses_fit(terms, f"in phase {phase.name}")
        trained |= _parts(net, subject, phase, lambda _: True)
        torch.stack(list(terms.values())).sum().backward()
        reached |= _parts(net, subject, phase, lambda parameter: parameter.grad is not None)
    missed = trained - reached
    _demand(
        not missed,
        f"source training is to train {_few(missed)}, but no auxiliary loss has a gradient there",
    )


def _terms(
    adapter: Adapter, net: Net, batch: Batch, phase: Phase, ctx: HarnessContext
) -> dict[str, Tensor]:
    net.train().requires_grad_(True)
    net.zero_grad()
    ctx.norms.set(Norm.EMA if "model" in phase.trains else Norm.RUNNING)
    features = net.model.stages(batch.images) if phase.supervised else []
    predictions = net.model.outputs(features, batch.images.shape[-2:]) if phase.supervised else {}
    step = SourceStep(
        net=net, batch=batch, stages=features, predictions=predictions, phase=phase, ctx=ctx
    )
    terms = adapter.source_loss(step)
    unknown = {
        name for name in terms if "/" in name and name.rpartition("/")[2] not in net.model.tasks
    }
    _demand(not unknown, f"{_few(unknown)} of phase {phase.name} belong to no task of the pair")
    return terms


def _parts(net: Net, subject: Subject, phase: Phase, counts: Callable[[Tensor], bool]) -> set[str]:
    """What a phase trains (each of the method's modules; the network where no labels do) and
    that has what counts.
    """
    found = set()
    if "extra" in phase.trains and net.extra is not None:
        own = {n: p for n, p in net.extra.named_parameters() if n not in subject.method.uncounted}
        found |= {
            f"extra.{name.partition('.')[0]}"
            for name, parameter in own.items()
            if counts(parameter)
        }
    if "model" in phase.trains and not phase.supervised:
        found |= (
            {"model"} if any(counts(parameter) for parameter in net.model.parameters()) else set()
        )
    return found


def _predictions_fit(
    predictions: Mapping[str, Tensor],
    channels: Mapping[str, int],
    count: int,
    size: tuple[int, int],
    where: str,
) -> None:
    wanted = {task: (count, k, *size) for task, k in channels.items()}
    found = {task: tuple(prediction.shape) for task, prediction in predictions.items()}
    _demand(found == wanted, f"predictions {where} have the shapes {found}, not {wanted}")
    bad = [
        task
        for task, prediction in predictions.items()
        if not bool(torch.isfinite(prediction).all())
    ]
    _demand(not bad, f"predictions of {', '.join(bad)} {where} are not finite")


def _losses_fit(losses: Mapping[str, Tensor], where: str) -> None:
    for name, loss in losses.items():
        _demand(loss.dim() == 0, f"loss {name} {where} is no scalar but {tuple(loss.shape)}")
        _demand(bool(torch.isfinite(loss)), f"loss {name} {where} is not finite")


def _trajectory(
    session: Session, images: Tensor, steps: int
) -> Iterable[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
    """As `Session.trajectory`; a method that moves nothing predicts once."""
    if not session.moved:
        return [(0, session.predict(images), {})]
    return list(session.trajectory(images, steps))


def _run(session: Session, images: Tensor, number: int = 0) -> Predictions:
    """Every prediction and every loss of a short trajectory."""
    session.begin_batch(number, images)
    found: Predictions = []
    for _, predictions, losses in _trajectory(session, images, STEPS):
        found.append(
            {task: prediction.clone() for task, prediction in predictions.items()} | dict(losses)
        )
    return found


def _same(first: Predictions, second: Predictions, otherwise: str) -> None:
    _demand(len(first) == len(second), otherwise)
    for one, other in zip(first, second, strict=True):
        same = one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
        _demand(same, otherwise)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit on a CPU; CUDA adds in varying order, which a few steps amplify."""
    if one.device.type == "cpu":
        return torch.equal(one, other)
    return bool((one - other).abs().max() <= CUDA_TOLERANCE * one.abs().max())


def _state(session: Session) -> dict[str, Tensor]:
    """Copies of all parameters and buffers, those that no checkpoint keeps too."""
    named = [*session.net.named_parameters(), *session.net.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def _words(channels: Mapping[str, int]) -> str:
    left_out = [task for task in CHANNELS if task not in channels]
    return f"pairs without {left_out[0]}" if left_out else "pairs with every task"


def _few(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
