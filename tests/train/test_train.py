"""Source training: the schedule, the chain of stages, resuming, the objective."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.notices import Notices
from support.toy import TASKS, Joint, Toy, ToyDataset, same, spec, values

from ttt_bench.adapter import Adapter, SourcePass, SourceStep
from ttt_bench.config.preset import ModelConfig, TrainingSettings
from ttt_bench.errors import BenchError, DivergedError
from ttt_bench.losses import RECIPES
from ttt_bench.results.timed_work import read_times
from ttt_bench.train import net as training
from ttt_bench.train.chain import checkpoint_path, training_chain
from ttt_bench.train.loader import sample_indices
from ttt_bench.train.net import build_net
from ttt_bench.train.stage import StageRun
from ttt_bench.train.trainer import Trainer
from ttt_bench.util import tensor_file
from ttt_bench.util.progress import Silent

CPU = torch.device("cpu")
OTHER_TRAINING = {
    "batch": 5,
    "iterations": 9,
    "lr": 0.5,
    "shared_lr": 0.5,
    "shared_iterations": 5,
    "weight_decay": 0.5,
    "flip": False,
}


def trainer(folder: Path, **kwargs: Any) -> Trainer:
    return Trainer(folder=folder, device=CPU, progress=Silent(), **kwargs)


def test_methods_without_source_training_share_bases_checkpoint() -> None:
    base, toy, joint = (training_chain(spec(), adapter) for adapter in (Toy(), Toy(), Joint()))
    assert [s.key for s in base] == [s.key for s in toy]
    assert joint[0].key == base[0].key, "all methods share the first stage"
    assert joint[1].key != base[1].key
    assert joint[1].iterations == base[1].iterations


def test_only_options_that_shape_the_source_model_change_its_key() -> None:
    def key(**options: float) -> str:
        return training_chain(spec(), Joint(Joint.Options(**options)))[-1].key

    assert key(late=2.0) == key()
    assert key(strength=0.1) != key()


def test_every_setting_of_a_job_changes_the_key() -> None:
    usual = spec().training
    changed = [
        replace(spec(), seed=1),
        replace(spec(), recipe="taskonomy"),
        replace(spec(), fingerprint="other"),
        replace(spec(), tasks={"depth": 1}),
        replace(spec(), model=ModelConfig(backbone="resnet18")),
        *(
            replace(spec(), training=TrainingSettings(**{**usual.model_dump(), name: value}))
            for name, value in OTHER_TRAINING.items()
        ),
    ]
    keys = {training_chain(one, Toy())[-1].key for one in [spec(), *changed]}
    assert len(keys) == len(changed) + 1


def test_an_epoch_shows_every_image_once_and_resumes_anywhere() -> None:
    shared, own = training_chain(spec(), Toy())
    seen = [
        i
        for iteration in range(5)
        for i in sample_indices(0, shared, iteration, images=10, batch=4)
    ]
    assert Counter(seen) == dict.fromkeys(range(10), 2)
    assert sample_indices(0, shared, 3, 10, 4) == seen[12:16]
    assert sample_indices(1, shared, 0, 10, 4) != seen[:4]
    joint = training_chain(spec(), Joint())[1]
    assert sample_indices(0, own, 0, 10, 4) == sample_indices(0, joint, 0, 10, 4), (
        "all methods see the same images"
    )


def test_a_trained_source_model_is_loaded_and_reads_no_data(tmp_path: Path) -> None:
    data = ToyDataset()
    first = values(trainer(tmp_path).source_model(spec(), Toy(), data))
    reads = data.reads
    again = values(trainer(tmp_path).source_model(spec(), Toy(), data))
    assert data.reads == reads
    assert same(first, again)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after", [2, 6])
def test_an_interrupt_in_mid_iteration_ends_as_an_undisturbed_training(
    tmp_path: Path, after: int, number: signal.Signals
) -> None:
    undisturbed = values(trainer(tmp_path / "a").source_model(spec(), Joint(), ToyDataset()))

    class Interrupting(Joint):
        calls = 0

        def source_loss(self, step: SourceStep) -> Any:
            # the forward pass has moved the running statistics, the update is yet to come
            Interrupting.calls += 1
            if Interrupting.calls == 2:
                signal.raise_signal(number)
            return super().source_loss(step)

    class InterruptingData(ToyDataset):
        def batch(self, indices: Any) -> Any:
            if self.reads == after - 1:
                signal.raise_signal(number)
            return super().batch(indices)

    folder = tmp_path / "b"
    with pytest.raises(KeyboardInterrupt):
        trainer(folder).source_model(spec(), Joint(), InterruptingData())
    assert list(folder.glob("*.partial.safetensors"))
    assert same(undisturbed, values(trainer(folder).source_model(spec(), Joint(), ToyDataset())))
    assert not list(folder.glob("*.partial.safetensors"))

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "c").source_model(spec(), Interrupting(), ToyDataset())
    Interrupting.calls = 9
    resumed = values(trainer(tmp_path / "c").source_model(spec(), Interrupting(), ToyDataset()))
    assert same(undisturbed, resumed)


class Stopped(ToyDataset):
    """Toy images whose third batch stops the training."""

    def batch(self, indices: Any) -> Any:
        if self.reads == 2:
            signal.raise_signal(signal.SIGINT)
        return super().batch(indices)


@pytest.mark.parametrize(("first", "second"), [(Toy, Joint), (Joint, Toy)])
def test_a_shared_stage_that_one_method_began_is_resumed_by_any_other(
    tmp_path: Path, first: type[Adapter], second: type[Adapter]
) -> None:
    undisturbed = values(trainer(tmp_path / "a").source_model(spec(), second(), ToyDataset()))
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "b").source_model(spec(), first(), Stopped())
    data = ToyDataset()
    resumed = values(trainer(tmp_path / "b").source_model(spec(), second(), data))
    assert same(undisturbed, resumed)
    assert data.reads == 4, "of seven iterations the first three were kept"


def test_seconds_of_all_attempts_at_a_stage_add_up(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    with pytest.raises(KeyboardInterrupt):
        trainer(folder).source_model(spec(), Toy(), Stopped())
    (partial,) = folder.glob("*.partial.safetensors")
    tensors, about = tensor_file.load(partial)
    assert 0 < about["seconds"] < 1000
    tensor_file.save(partial, tensors, {**about, "seconds": 1000.0})
    trainer(folder).source_model(spec(), Toy(), ToyDataset())
    second, first = sorted(one.seconds for one in read_times(tmp_path))
    assert 0 < second < 1000 < first


def corrupt(path: Path) -> None:
    """Change one byte of a tensor."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", ["flipped", "swapped", "cut", "empty"])
def test_a_damaged_checkpoint_is_set_aside_and_trained_again(tmp_path: Path, harm: str) -> None:
    folder, watch = tmp_path / "checkpoints", Notices()
    undisturbed = values(trainer(folder).source_model(spec(), Toy(), ToyDataset()))
    shared, own = (checkpoint_path(folder, s.key) for s in training_chain(spec(), Toy()))
    if harm == "flipped":
        corrupt(own)
    else:
        content = {"swapped": shared.read_bytes(), "cut": own.read_bytes()[:999], "empty": b""}
        own.write_bytes(content[harm])
    again = Trainer(folder=folder, device=CPU, progress=watch)
    data = ToyDataset()
    assert same(undisturbed, values(again.source_model(spec(), Toy(), data)))
    assert data.reads == training_chain(spec(), Toy())[1].iterations, "the shared stage was kept"
    assert watch.heard(own.name, "damaged", "quarantine")
    assert (tmp_path / "quarantine" / "checkpoints" / own.name).exists()
    assert (
        own.stat().st_mode
        == shared.stat().st_mode
        == (own.parent.stat().st_mode & 0o666) | (own.stat().st_mode & ~0o777)
    )


def test_a_damaged_save_of_a_stage_is_set_aside_and_the_stage_starts_again(tmp_path: Path) -> None:
    folder, watch = tmp_path / "checkpoints", Notices()
    undisturbed = values(trainer(tmp_path / "a").source_model(spec(), Toy(), ToyDataset()))
    with pytest.raises(KeyboardInterrupt):
        trainer(folder).source_model(spec(), Toy(), Stopped())
    (partial,) = folder.glob("*.partial.safetensors")
    corrupt(partial)
    again = Trainer(folder=folder, device=CPU, progress=watch)
    assert same(undisturbed, values(again.source_model(spec(), Toy(), ToyDataset())))
    assert watch.heard(partial.name, "damaged", "quarantine")


def test_training_resumes_from_the_last_save_after_a_crash(tmp_path: Path) -> None:
    undisturbed = values(trainer(tmp_path / "a").source_model(spec(), Toy(), ToyDataset()))

    class Crashing(ToyDataset):
        def batch(self, indices: Any) -> Any:
            if self.reads == 5:
                raise MemoryError("killed")
            return super().batch(indices)

    folder = tmp_path / "b"
    with pytest.raises(MemoryError):
        trainer(folder, save_seconds=0).source_model(spec(), Toy(), Crashing())
    data = ToyDataset()
    assert same(undisturbed, values(trainer(folder).source_model(spec(), Toy(), data)))
    assert data.reads == 2, "of seven iterations the first five were kept"


def test_local_weights_count_by_their_content(tmp_path: Path) -> None:
    def key(path: Path) -> str:
        return training_chain(
            replace(spec(), model=ModelConfig(backbone="test_resnet", weights=path)), Toy()
        )[-1].key

    first, second, moved = (tmp_path / name for name in ("a", "b", "c"))
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    moved.write_bytes(b"one")
    assert key(first) == key(moved) != key(second)


def test_a_trained_model_is_loaded_without_looking_for_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "backbone.safetensors"
    save_file(build_net(spec(), Toy()).model.backbone.state_dict(), weights)
    local = replace(spec(), model=ModelConfig(backbone="test_resnet", weights=weights))
    first = values(trainer(tmp_path).source_model(local, Toy(), ToyDataset()))
    seen: list[ModelConfig] = []
    build = training.build_model
    monkeypatch.setattr(
        training,
        "build_model",
        lambda config, tasks: (seen.append(config), build(config, tasks))[1],
    )
    assert same(first, values(trainer(tmp_path).source_model(local, Toy(), ToyDataset())))
    assert [config.weights for config in seen] == [None]


def test_a_diverged_training_is_not_repeated(tmp_path: Path) -> None:
    data, one = ToyDataset(), trainer(tmp_path)
    data.targets["depth"].fill_(float("nan"))
    for _ in range(2):
        with pytest.raises(BenchError, match="diverged"):
            one.source_model(spec(), Toy(), data)
    assert data.reads == 4


def test_a_training_that_diverged_in_another_process_is_not_repeated(tmp_path: Path) -> None:
    data, key = ToyDataset(), training_chain(spec(), Toy())[0].key
    data.targets["depth"].fill_(float("nan"))
    errors = []
    for _ in range(2):  # a second trainer knows what is stored alone
        with pytest.raises(DivergedError) as caught:
            trainer(tmp_path).source_model(spec(), Toy(), data)
        errors.append((str(caught.value), caught.value.step))
    assert errors[0] == errors[1]
    assert data.reads == 4
    assert not list(tmp_path.glob("*.safetensors"))
    assert [path.name for path in tmp_path.glob("*.json")] == [f"{key}.diverged.json"]
    path = tmp_path / f"{key}.diverged.json"
    path.write_text(path.read_text().replace("diverged at", "converged at"))
    with pytest.raises(DivergedError, match="diverged at"):
        trainer(tmp_path).source_model(spec(), Toy(), data)
    assert data.reads == 8, "a damaged file does not count"


def test_the_second_stage_has_no_influence_on_the_shared_one(tmp_path: Path) -> None:
    folder = trainer(tmp_path)
    folder.source_model(spec(), Toy(), ToyDataset())
    shared = checkpoint_path(tmp_path, training_chain(spec(), Toy())[0].key)
    before = shared.read_bytes()
    folder.source_model(spec(), Joint(), ToyDataset())
    assert shared.read_bytes() == before


def test_a_diverging_training_says_where(tmp_path: Path) -> None:
    data = ToyDataset()
    data.targets["depth"].fill_(float("nan"))
    with pytest.raises(BenchError, match=r"diverged at iteration 4.*training\.lr"):
        trainer(tmp_path).source_model(spec(), Toy(), data)


@pytest.mark.parametrize("recipe", ["weighted", "taskonomy"])
def test_the_objective_weights_a_tasks_own_terms_with_the_task(recipe: str) -> None:
    one = spec(recipe=recipe)
    net = build_net(one, Joint())
    run = StageRun(net, training_chain(one, Joint())[-1], one, CPU)
    with torch.no_grad():
        run.uncertainties.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    batch = ToyDataset().batch([0, 1, 2])
    total = run.objective(batch)

    features = net.model.stages(batch.images)
    predictions = net.model.outputs(features, batch.images.shape[-2:])
    losses = {t: RECIPES[recipe].losses[t](predictions[t], batch.targets[t]) for t in TASKS}
    losses["depth"] = losses["depth"] + 0.5 * predictions["depth"].mean() ** 2
    plain = (net.extra(features[0].mean(dim=(2, 3))) ** 2).mean()  # type: ignore[misc]
    if recipe == "weighted":
        joint = losses["semseg"] + losses["depth"] + 10 * losses["normals"] + 50 * losses["edge"]
    else:
        joint = sum(
            loss / (2 * p**2) + torch.log(torch.tensor(1 + p**2))
            for loss, p in zip(losses.values(), (1.0, 2.0, 3.0, 4.0), strict=True)
        )
    torch.testing.assert_close(total, joint + plain)


def test_an_unsupervised_phase_moves_the_extra_modules_alone(tmp_path: Path) -> None:
    class TwoPhases(Joint):
        second_phase = True

    folder = trainer(tmp_path)
    before = values(folder.source_model(spec(), Joint(), ToyDataset()))
    chain = training_chain(spec(), TwoPhases())
    assert [s.phase.name for s in chain] == ["shared", "joint", "late"]
    after = values(folder.source_model(spec(), TwoPhases(), ToyDataset()))
    assert same(
        {k: v for k, v in before.items() if k.startswith("model")},
        {k: v for k, v in after.items() if k.startswith("model")},
    )
    assert not torch.equal(before["extra.weight"], after["extra.weight"])


@pytest.mark.parametrize("at_target_size", [False, True])
def test_source_statistics_are_computed_once_from_whole_batches(
    tmp_path: Path, at_target_size: bool
) -> None:
    seen: list[torch.Tensor] = []

    class Measuring(Toy):
        name = "measuring"

        def source_pass(self) -> SourcePass:
            return SourcePass(images=13, batch=4, at_target_size=at_target_size)

        def source_statistics(self, net: Any, images: Any, ctx: Any) -> Any:
            assert not torch.is_grad_enabled()
            seen.extend(images)
            return {"mean": torch.stack([batch.mean() for batch in seen]).mean()}

    data, folder = ToyDataset(images=16), trainer(tmp_path)
    net = folder.source_model(spec(), Measuring(), data)

    def statistics(parent: str) -> dict[str, torch.Tensor]:
        return folder.source_statistics(
            net, spec(), Measuring(), data, parent=parent, target_size=(48, 64)
        )

    first = statistics("weights")
    size = (48, 64) if at_target_size else (32, 32)
    assert [tuple(batch.shape) for batch in seen] == [(4, 3, *size)] * 3, (
        "13 images, the last one left out"
    )
    resized = torch.nn.functional.interpolate(data.images, size, mode="bilinear")
    drawn = {tuple(image.flatten().tolist()[:8]) for batch in seen for image in batch}
    assert drawn <= {tuple(image.flatten().tolist()[:8]) for image in resized}
    assert len(drawn) == 12
    reads = data.reads
    assert same(first, statistics("weights"))
    assert data.reads == reads
    statistics("other weights")
    assert data.reads > reads
