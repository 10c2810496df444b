"""Tuning through the command line: trials, the file, and a run with the chosen rates."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.command import call, refused

from ttt_bench import open_results, read_results
from ttt_bench.config.tuned import Trial, read_tuned
from ttt_bench.results import store

SMALL = ("--preset", "smoke", "--device", "cpu", "--steps", "1", "--set", "data.rendered_target=2")
TUNE = ("tune", "--methods", "norm,tent", *SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> Path:
    """Tune two methods, one of which does not adapt, into `folder/trials`."""
    path = tmp_path_factory.mktemp("tune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        done = call(*TUNE, "--results", path / "trials", "--json")
    assert done.returncode == 0, done.stderr
    (path / "shown.json").write_text(done.stdout, encoding="utf-8")
    return path


@pytest.fixture
def tuned(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "trials" / "tuned.toml").read_text(encoding="utf-8"))


def test_every_trial_is_a_cell_on_held_out_source_images(
    folder: Path, tuned: dict[str, Any]
) -> None:
    record, trials = tuned["record"], tuned["methods"]["tent"]["trials"]
    assert list(tuned["methods"]) == ["tent"]
    assert (record["split"], record["trials"], record["seed"]) == ("val", 16, 0)
    assert len(trials) == 16
    manifests = {m["config"]: m for _, m in store.cells(folder / "trials")}
    assert {trial["config"] for trial in trials} < manifests.keys()
    for manifest in manifests.values():
        assert manifest["pair"] == "rooms:rooms+brightness@s2"
        assert manifest["preset_values"]["data"]["target_split"] == "val"
    for trial in trials:
        assert manifests[trial["config"]]["optimiser"]["lr"] == trial["lr"]


def test_the_chosen_rate_follows_from_the_rows(folder: Path, tuned: dict[str, Any]) -> None:
    table = open_results(folder / "trials").delta()
    shown = dict(zip(table["label"], table["delta_ttt"], strict=True))
    own = tuned["methods"]["tent"]
    for trial in own["trials"]:
        changed = "" if trial["lr"] == own["default_lr"] else f" (lr={trial['lr']})"
        assert trial["delta_ttt"] == pytest.approx(shown[f"tent{changed}"], abs=1e-12)
    best = max(round(trial["delta_ttt"], 4) for trial in own["trials"])
    chosen = next(trial for trial in own["trials"] if trial["lr"] == own["lr"])
    assert round(best - round(chosen["delta_ttt"], 4), 4) <= 0.01
    (row,) = json.loads((folder / "shown.json").read_text())
    assert (row["method"], row["chosen_lr"], row["trials"]) == ("tent", own["lr"], 16)
    assert row["delta_ttt_chosen"] == chosen["delta_ttt"]


def test_the_same_command_computes_nothing_and_writes_the_same_file(
    folder: Path, room_cache: Path
) -> None:
    other = folder / "again.toml"
    done = call(
        *TUNE, "--results", folder / "trials", "--out", other, TTT_BENCH_CACHE=str(room_cache)
    )
    assert "nothing to compute, 18 already finished" in done.stderr
    assert other.read_bytes() == (folder / "trials" / "tuned.toml").read_bytes()
    assert "Delta chosen" in done.stdout


def test_a_run_uses_the_chosen_rate_and_records_its_origin(folder: Path, room_cache: Path) -> None:
    results, edited = folder / "run", folder / "edited.toml"
    found = read_tuned(folder / "trials" / "tuned.toml").tuned
    # a rate that is no default of anything, from trials that give it
    trial = Trial(lr=0.25, state="done", delta_ttt=99.0, config="c")
    method = found.methods["tent"].model_copy(update={"lr": 0.25, "trials": (trial,)})
    changed = found.model_copy(update={"methods": {"tent": method}})
    edited.write_text(changed.text(), encoding="utf-8")
    done = call(
        *("run", "--methods", "base,tent", *SMALL, "--results", results),
        *("--hparams", "tuned", "--tuned", edited),
        TTT_BENCH_CACHE=str(room_cache),
    )
    assert done.returncode == 0, done.stderr
    rows = read_results(results)
    assert set(rows["hparams"]) == {"tuned"}
    assert set(rows["settings"]) == {"data.rendered_target=2; steps=1"}
    manifests = {m["method"]: m for _, m in store.cells(results)}
    assert manifests["tent"]["optimiser"]["lr"] == 0.25
    assert manifests["base"]["tuned"] is None
    assert manifests["tent"]["tuned"]["pair"] == "rooms:rooms+brightness@s2"
    assert "16 trials on rooms+brightness@s2, seed 0" in done.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "romms"), "unknown source 'romms'; did you mean"),
        (("--shift", "rooms-mix"), "unknown shift 'rooms-mix'"),
        (("--set", "data.target_split=test"), "tune uses val"),
        (("--protocol", "online,episodic"), "one protocol"),
        (("--methods", "base,norm"), "none of the methods has a learning rate"),
        (("--set", "tent.lr=0"), "tent.lr is 0"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused("tune", "--methods", "tent", *SMALL, *arguments)


def test_a_config_file_with_a_pair_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "sweep.toml"
    config.write_text('pair = ["rooms:rooms-mix"]\n')
    assert "tune sets pair itself" in refused(*TUNE, "--config", config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hparams", "tuned"), "give it with --tuned FILE"),
        (("--tuned", "FILE"), "only used with --hparams tuned"),
        (("--hparams", "tuned", "--tuned", "missing.toml"), "missing.toml"),
        (("--hparams", "tuned", "--tuned", "FILE", "--steps", "2"), "tuned with --steps 1"),
        (("--hparams", "tuned", "--tuned", "FILE", "--methods", "s4t"), "no entry for s4t"),
        (("--set", "data.target_split=val"), "held-out images of the source"),
    ],
)
def test_a_run_that_the_file_does_not_fit_is_refused(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = str(folder / "trials" / "tuned.toml")
    given = [file if argument == "FILE" else argument for argument in arguments]
    assert message in refused("run", "--methods", "tent", *SMALL, *given, "--plan")
