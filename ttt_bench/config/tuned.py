"""The file of `ttt-bench tune`: the chosen settings of each method, and how they were chosen.

Imports no torch, so that a request is checked before it is imported.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ttt_bench.config.preset import Preset
from ttt_bench.config.toml_text import toml_text
from ttt_bench.designs.rates import RULE, choose_rate
from ttt_bench.errors import BenchError
from ttt_bench.util.hashing import hash_file, hash_of
from ttt_bench.util.input.validation import Strict, validated
from ttt_bench.util.os_errors import explained_reading, file_bytes
from ttt_bench.util.stored.sealed import DIGEST, digest_of


class Conditions(Strict):
    """Choices of a run that a learning rate is chosen for; another run must share them.

    Attributes:
        source: name of the source domain.
        protocol: name of the protocol.
        preset: name of the preset.
        model: the network, with a hash of its settings.
        batch: target images per batch.
        weights: hash of the file of --source-weights; empty if the source model is trained.
    """

    source: str
    protocol: str
    preset: str
    model: str
    batch: int
    weights: str = ""


class Trial(Strict):
    """One learning rate that was tried.

    Attributes:
        lr: the learning rate.
        state: the state of its cell, such as done or diverged.
        delta_ttt: Delta_TTT at the last step in percent; None without numbers.
        config: hash of its cell.
    """

    lr: float
    state: str
    delta_ttt: float | None = None
    config: str


class TunedMethod(Strict):
    """The chosen settings of one method.

    Attributes:
        lr: the chosen learning rate.
        default_lr: the learning rate of preset and hyperparameters, one of the trials.
        steps: adaptation steps per batch.
        optimiser: the other settings of the optimiser.
        trials: all trials, in order of their rates.
    """

    lr: float = Field(ge=0)
    default_lr: float
    steps: int
    optimiser: dict[str, Any]
    trials: tuple[Trial, ...]


class Record(Strict):
    """How the learning rates were chosen.

    Attributes:
        pair: the source domain, and the source domain under the shift.
        split: the split of the images.
        images: number of images.
        seed: seed of source training and adaptation.
        trials: number of trials per method.
        rule: how a rate is chosen among the trials, in words.
        version: version of ttt-bench.
        settings: text of the `--set` options and other choices.
    """

    pair: str
    split: str
    images: int
    seed: int
    trials: int
    rule: str
    version: str
    settings: str = ""


class Tuned(Strict):
    """The content of the file."""

    record: Record
    conditions: Conditions
    methods: dict[str, TunedMethod] = Field(min_length=1)

    def text(self) -> str:
        """Return the file's content, in TOML, with its digest."""
        plain = self.model_dump(mode="json")
        digest = digest_of(tomllib.loads(toml_text(plain)))
        return toml_text({DIGEST: digest, **plain})


@dataclass(frozen=True)
class TunedFile:
    """A file of `ttt-bench tune`.

    Attributes:
        path: the file.
        tuned: its content.
        digest: hash of the file.
    """

    path: Path
    tuned: Tuned
    digest: str

    def optimiser(self, method: str) -> dict[str, Any]:
        """Return the optimiser settings of a method; empty if the file has none."""
        found = self.tuned.methods.get(method)
        return {**found.optimiser, "lr": found.lr} if found else {}

    def of_method(self, method: str) -> dict[str, Any]:
        """Return the file's content without the other methods; all of it if it has no such one."""
        content = self.tuned.model_dump(mode="json")
        own = content["methods"].get(method)
        return {**content, "methods": {method: own}} if own else content

    def origin(self) -> dict[str, Any]:
        """Return where the settings come from, for manifests."""
        record = self.tuned.record
        return {
            "digest": self.digest,
            **record.model_dump(include={"pair", "split", "images", "seed", "trials", "version"}),
        }


def read_tuned(path: Path) -> TunedFile:
    """Return a file of `ttt-bench tune`.

    Raises:
        BenchError: the file is missing, is not TOML, has other entries, has a learning rate that
            its trials do not give, or differs from its digest.
    """
    file_bytes(path, "--tuned")
    with explained_reading(path, "--tuned"):
        content, digest = path.read_bytes(), hash_file(path)
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise BenchError(f"--tuned {path}: not valid TOML ({error})") from error
    written = table.pop(DIGEST, None)
    tuned = validated(Tuned, table, f"--tuned {path}: {{}}".format)
    for name, method in tuned.methods.items():
        _check_rate(path, name, method, tuned.record.rule)
    if written != digest_of(table):
        raise BenchError(
            f"--tuned {path}: its content differs from its digest; restore the file, or run "
            "`ttt-bench tune` again"
        )
    return TunedFile(path, tuned, digest)


def _check_rate(path: Path, name: str, method: TunedMethod, rule: str) -> None:
    """Raise a BenchError if the trials do not give the learning rate, so that it was not tuned."""
    deltas = {trial.lr: trial.delta_ttt for trial in method.trials}
    # other versions may have another rule
    given = {choose_rate(deltas, method.default_lr)} if rule == RULE else deltas.keys()
    if method.lr not in given:
        raise BenchError(
            f"--tuned {path}: {name}: the trials do not give the learning rate {method.lr:g}; "
            f"restore the file, or set the rate with --set {name}.lr={method.lr:g}"
        )


def conditions_of(
    *, source: str, protocol: str, preset_name: str, preset: Preset, weights: str | None
) -> Conditions:
    """Return the conditions of a run."""
    model = preset.model
    return Conditions(
        source=source,
        protocol=protocol,
        preset=preset_name,
        model=f"{model.label} ({hash_of(model.model_dump(mode='json'), 6)})",
        batch=preset.batch,
        weights=weights or "",
    )


def tuned_problems(
    file: TunedFile, conditions: Conditions, steps: Iterable[tuple[str, int]]
) -> list[str]:
    """Return the reasons why a run cannot use a file.

    Args:
        file: the file.
        conditions: those of the run.
        steps: the methods of the run that adapt, with their number of steps.
    """
    tuned, place = file.tuned, f"--tuned {file.path}"
    before, now = tuned.conditions.model_dump(), conditions.model_dump()
    problems = [
        f"{place}: chosen for {name} {before[name] or 'none'}, but the run has "
        f"{now[name] or 'none'}; run `ttt-bench tune` with the settings of the run"
        for name in before
        if before[name] != now[name]
    ]
    wanted = dict(steps)
    lacking = [name for name in wanted if name not in tuned.methods]
    if lacking:
        names = ",".join(lacking)
        problems.append(
            f"{place} has no entry for {', '.join(lacking)}; add {names} to the --methods of "
            "`ttt-bench tune`, or leave them out of the run"
        )
    return problems + [
        f"{place}: {name} was tuned with --steps {tuned.methods[name].steps}, but the run has "
        f"{number}; use the same number"
        for name, number in wanted.items()
        if name in tuned.methods and tuned.methods[name].steps != number
    ]
