"""Sweeps on the embedded pair: stored files, resuming, and cells that fail."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file
from support.notices import Notices
from support.runs import LINE, interrupt, plan, primary, run
from support.short_form import short_form
from support.stopping import Stopping
from support.toy import Drifting, Exploding, Toy

import ttt_bench
from ttt_bench.adapt.device import find_device
from ttt_bench.adapter import Needs
from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.data.rooms.dataset import Rooms
from ttt_bench.errors import BenchError, DataError
from ttt_bench.metrics.base import all_metrics
from ttt_bench.model.network import StagedNetwork
from ttt_bench.protocols import PROTOCOLS
from ttt_bench.report.notes.run import run_notes
from ttt_bench.results import schema, store
from ttt_bench.results.failures import describe_failures
from ttt_bench.results.load import load
from ttt_bench.stats.comparison import Comparison, comparisons
from ttt_bench.sweep.runner import Runner
from ttt_bench.tasks import PAPER_TASKS
from ttt_bench.util import tensor_file
from ttt_bench.util.progress import Silent

TABLES = ("rows", "statistics", "totals", "signals", "losses")
METRICS = [f"{one.task}.{one.name}" for one in all_metrics() if one.task in PAPER_TASKS]


def test_every_cell_has_a_finite_row_for_every_step_and_metric(swept: Path) -> None:
    rows = ttt_bench.read_results(swept)
    assert list(rows.columns) == list(schema.ROW_COLUMNS)
    assert set(rows.protocol) == {"online", "episodic", "single-batch"}
    assert np.isfinite(rows.value).all()
    cells = rows.groupby(["method", "protocol"])
    assert len(cells) == 12
    for _, cell in cells:
        classes = cell[cell["class"] != ""]
        assert set(classes.metric) == {"iou"}
        for step in range(4):
            own = cell[cell.step == step]
            assert list(dict.fromkeys(own.task + "." + own.metric)) == METRICS
            assert list(own.loc[own.metric == "iou", "class"]) == list(
                LABEL_SPACES["taskonomy_nyud_7"].classes
            )
            # mean IoU is the mean over the classes
            assert own.loc[own.metric == "iou", "value"].mean() == pytest.approx(
                own.loc[own.metric == "miou", "value"].item()
            )
        assert len(cell) == 4 * (len(METRICS) + 6)
        assert set(cell.n) == {9}


def test_scores_follow_from_the_stored_statistics_by_a_second_implementation(swept: Path) -> None:
    for folder, _ in store.cells(swept):
        rows, statistics = store.read_table(folder, "rows"), store.read_table(folder, "statistics")
        for (step, task), group in statistics.groupby(["step", "task"]):
            values = np.stack(group["values"].to_numpy())
            want = primary(rows[(rows.step == step) & (rows.task == task)]).value.item()
            if task == "semseg":
                confusion = values.sum(0).reshape(7, 7)
                unions = [
                    confusion[k].sum() + confusion[:, k].sum() - confusion[k, k] for k in range(7)
                ]
                got = 100 * np.mean(
                    [confusion[k, k] / u if u else 0.0 for k, u in enumerate(unions)]
                )
            elif task == "normals":
                got = values[:, 1].sum() / values[:, 0].sum()
            else:
                errors, count = 0.0, 0.0
                for _, batch in group.groupby("batch"):
                    n, p, t, pp, tt, pt = np.stack(batch["values"].to_numpy()).sum(0)
                    scale, shift = np.linalg.solve([[pp, p], [p, n]], [pt, t])
                    errors += (
                        tt
                        + scale**2 * pp
                        + n * shift**2
                        - 2 * scale * pt
                        - 2 * shift * t
                        + 2 * scale * shift * p
                    )
                    count += n
                got = np.sqrt(errors / count)
            assert got == pytest.approx(want, rel=1e-6)


def test_methods_that_move_nothing_are_constant_and_tent_starts_where_norm_is(swept: Path) -> None:
    rows = ttt_bench.read_results(swept)
    for method in ("base", "norm"):
        spread = (
            rows[rows.method == method]
            .groupby(["protocol", "task", "metric", "class"])
            .value.nunique()
        )
        assert (spread == 1).all()
    rows = primary(rows)
    episodic = (
        rows[(rows.protocol == "episodic") & (rows.step == 0)].set_index(["method", "task"]).value
    )
    for task in ("semseg", "depth", "normals", "edge"):
        assert episodic["tent", task] == episodic["norm", task]
    assert episodic["norm", "depth"] != episodic["base", "depth"]


def test_a_manifest_traces_every_number(swept: Path) -> None:
    for folder, manifest in store.cells(swept):
        assert manifest["state"] == "done"
        provenance = manifest["provenance"]
        for key in (
            "harness",
            "method",
            "versions",
            "device",
            "precision",
            "source_data",
            "target_data",
        ):
            assert provenance[key], key
        for checkpoint in provenance["checkpoints"]:
            assert (swept / "checkpoints" / f"{checkpoint}.safetensors").is_file()
        attempts = json.loads((folder / "attempts.json").read_text())
        assert attempts["finished"] == attempts["attempts"][-1]["finished"]
        assert {"started", "finished", "seconds", "host", "state"} <= attempts["attempts"][
            -1
        ].keys()
        assert manifest["source_model"] == ("s4t" if manifest["method"] == "s4t" else "base")
        assert ("own_source_scores" in manifest) == (manifest["method"] == "s4t")
        assert (folder / "source.parquet").exists() == (manifest["method"] == "s4t")


def test_a_finished_run_repeats_no_forward_pass(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    forward, stages = StagedNetwork.forward, StagedNetwork.stages
    # the plan inspects shapes on the meta device, which computes nothing
    monkeypatch.setattr(
        StagedNetwork, "forward", lambda s, x: (passes.append(x.device.type), forward(s, x))[1]
    )
    monkeypatch.setattr(
        StagedNetwork,
        "stages",
        lambda s, x, *a, **k: (passes.append(x.device.type), stages(s, x, *a, **k))[1],
    )
    before = {path: path.read_bytes() for path in swept.rglob("*") if path.is_file()}
    outcome = run(swept, methods=LINE, protocol="online,episodic,single-batch")
    assert set(passes) <= {"meta"}
    assert (outcome.kept, outcome.computed) == (12, {})
    assert before == {path: path.read_bytes() for path in swept.rglob("*") if path.is_file()}


def test_two_runs_write_equal_rows_and_statistics(swept: Path, tmp_path: Path) -> None:
    run(tmp_path, methods=("base", "s4t"), protocol="online")
    for folder, _ in store.cells(tmp_path):
        other = swept / folder.relative_to(tmp_path)
        for name in TABLES:
            pd.testing.assert_frame_equal(
                store.read_table(folder, name), store.read_table(other, name)
            )
        assert (folder / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()


@pytest.mark.parametrize("protocol", short_form(PROTOCOLS, ("online",)))
def test_a_killed_run_resumes_to_the_same_values(
    swept: Path, tmp_path: Path, protocol: str
) -> None:
    interrupt(tmp_path, methods="s4t", protocol=protocol)
    sweep = plan(tmp_path, methods="s4t", protocol=protocol)
    assert [cell.state(tmp_path) for cell in sweep.cells] == ["interrupted"]
    assert run(tmp_path, methods="s4t", protocol=protocol).computed == {"done": 1}
    ((folder, _),) = store.cells(tmp_path)
    for name in TABLES:
        pd.testing.assert_frame_equal(
            store.read_table(folder, name),
            store.read_table(swept / folder.relative_to(tmp_path), name),
        )
    assert not list(tmp_path.rglob("*.partial.safetensors"))


def test_a_cell_that_an_earlier_version_began_begins_again(swept: Path, tmp_path: Path) -> None:
    interrupt(tmp_path, methods="tent")
    (partial,) = tmp_path.rglob("*.partial.safetensors")
    state, about = tensor_file.load(partial)
    assert about.pop("schema_version") == schema.SCHEMA_VERSION
    tensor_file.save(
        partial, {name: tensor for name, tensor in state.items() if ".set_sums." not in name}, about
    )
    assert run(tmp_path, methods="tent").computed == {"done": 1}
    ((folder, _),) = store.cells(tmp_path)
    for name in ("rows", "totals"):
        pd.testing.assert_frame_equal(
            store.read_table(folder, name),
            store.read_table(swept / folder.relative_to(tmp_path), name),
        )


def test_a_diverged_cell_is_recorded_with_its_step_and_the_sweep_continues(
    tmp_path: Path, register: Any
) -> None:
    register(Exploding, Toy)
    outcome = run(tmp_path, methods="exploding,toy")
    assert outcome.computed == {"diverged": 1, "done": 1}
    states = {m["method"]: m for _, m in store.cells(tmp_path)}
    assert (states["exploding"]["state"], states["exploding"]["diverged_at"]) == ("diverged", 2)
    assert "loss 'size' is not finite at step 2 of batch 0" in states["exploding"]["reason"]
    assert set(ttt_bench.read_results(tmp_path).method) == {"toy"}
    assert run(tmp_path, methods="exploding,toy").kept == 2


def test_a_diverged_source_training_is_recorded_with_its_iteration(tmp_path: Path) -> None:
    given: dict[str, Any] = {"methods": "base,norm", "set": {"training.shared_lr": 1e30}}
    assert run(tmp_path, **given).computed == {"diverged": 2}
    for _, manifest in store.cells(tmp_path):
        assert "source training of shared on rooms" in manifest["reason"]
        assert manifest["diverged_at"] >= 1
        assert manifest["optimiser"] is None, "neither method updates parameters"
    assert run(tmp_path, **given).kept == 2


def test_a_failing_plugin_is_recorded_and_tried_again(tmp_path: Path, register: Any) -> None:
    class Broken(Toy):
        name = "broken"

        def step(self, *args: Any) -> Any:
            raise ZeroDivisionError("a bug")

    register(Broken, Toy)
    assert run(tmp_path, methods="broken,toy").computed == {"failed": 1, "done": 1}
    ((folder, manifest),) = [
        cell for cell in store.cells(tmp_path) if cell[1]["method"] == "broken"
    ]
    assert re.fullmatch(
        r"ZeroDivisionError: a bug \(test_runner\.py:\d+ in step\)", manifest["reason"]
    )
    assert run(tmp_path, methods="broken,toy").computed == {"failed": 1}
    attempts = json.loads((folder / "attempts.json").read_text())["attempts"]
    assert [attempt["state"] for attempt in attempts] == ["failed", "failed"]
    assert "in step" in attempts[0]["traceback"]


class Broken(Toy):
    """Raises an error in every step."""

    name = "broken"

    def step(self, *args: Any) -> Any:
        raise ZeroDivisionError("a bug\nwith two lines")


class AlsoBroken(Broken):
    name = "also-broken"


def test_one_cause_is_stated_once(tmp_path: Path, register: Any) -> None:
    register(Broken, AlsoBroken, Toy)
    display = Notices()
    sweep = plan(tmp_path, methods="broken,toy,also-broken", seeds=(0, 1))
    outcome = Runner(sweep, display).run()
    assert outcome.computed == {"failed": 4, "done": 2}
    shown = [notice for notice in display.notices if "a bug" in notice]
    assert len(shown) == 1
    assert "broken on rooms:rooms-mix failed: ZeroDivisionError: a bug with two lines" in shown[0]
    (line,) = describe_failures(outcome.failed)
    assert "broken on rooms:rooms-mix, online (seed 0, 1), also-broken on " in line
    attempts = line.rpartition("traceback: ")[2]
    assert "ZeroDivisionError" in Path(attempts).read_text(encoding="utf-8")
    missing = [note.text for note in run_notes(comparison_of(tmp_path)) if note.about == "Missing"]
    assert len(missing) == 1
    assert missing[0].count("a bug") == 1
    assert "also-broken, seeds 0, 1; broken, seeds 0, 1: failed: ZeroDivisionError" in missing[0]
    assert missing[0].endswith("attempts.json)")


def comparison_of(results: Path) -> Comparison:
    """Return the only comparison of a results folder."""
    loaded = load(results)
    (found,) = comparisons(loaded.cells, loaded.rows)
    return found


@pytest.mark.parametrize("hook", ["needs", "phases", "source_pass", "own_tasks"])
def test_errors_of_hooks_that_the_plan_calls_name_their_line(
    tmp_path: Path, register: Any, hook: str
) -> None:
    class Wrong(Toy):
        name = "wrong"

    def fails(*args: Any) -> Any:
        raise ZeroDivisionError("a bug")

    setattr(Wrong, hook, fails)
    register(Wrong)
    with pytest.raises(
        BenchError, match=r"ZeroDivisionError: a bug \(test_runner\.py:\d+ in fails"
    ):
        plan(tmp_path, methods="wrong")


def test_damaged_data_end_the_training_of_all_methods_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def damaged(self: Rooms, indices: Any, *rest: Any) -> Any:
        reads.append(indices)
        raise DataError("rooms/0.png is damaged; take it from the archive again")

    monkeypatch.setattr(Rooms, "augmented", damaged)
    display = Notices()
    outcome = Runner(plan(tmp_path, methods="base,norm,tent"), display).run()
    assert outcome.computed == {"failed": 3}
    assert len(reads) == 1, "the training is not repeated for each method"
    (line,) = describe_failures(outcome.failed)
    assert "failed: rooms/0.png is damaged; take it from the archive again; traceback: " in line


def test_a_plugin_that_cannot_be_bound_is_named_when_the_plan_is_made(
    tmp_path: Path, register: Any
) -> None:
    class Unbound(Toy):
        name = "unbound"

        def bind(self, *args: Any) -> Any:
            raise ZeroDivisionError("a bug")

    register(Unbound, Toy)
    message = r"unbound cannot be bound to .* on test_resnet: ZeroDivisionError: a bug"
    with pytest.raises(BenchError, match=message):
        plan(tmp_path, methods="unbound,toy")
    cells = plan(tmp_path, methods="everything").cells
    reasons = {cell.method: cell.reason for cell in cells}
    assert "a bug" in str(reasons["unbound"])
    assert reasons["toy"] is None


def test_a_cell_that_fails_midway_resumes_from_its_last_save(swept: Path, tmp_path: Path) -> None:
    sweep = plan(tmp_path, methods="s4t")
    failing = Stopping(OSError("the disk went away"))
    assert Runner(sweep, failing, save_seconds=0).run().computed == {"failed": 1}
    assert list(tmp_path.rglob("*.partial.safetensors"))
    resumed = Stopping()
    sweep = plan(tmp_path, methods="s4t")
    assert Runner(sweep, resumed).run().computed == {"done": 1}
    assert (failing.scored, resumed.scored) == (2, 1), "the first batch was not measured again"
    ((folder, _),) = store.cells(tmp_path)
    for name in TABLES:
        pd.testing.assert_frame_equal(
            store.read_table(folder, name),
            store.read_table(swept / folder.relative_to(tmp_path), name),
        )


def test_a_full_disk_is_reported_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(BenchError, match=r"cannot be written.*No space left"):
        run(tmp_path, methods="base")
    assert not [path for path in (tmp_path / "cells").rglob("*") if path.is_file()]


def test_a_cell_with_a_task_without_a_valid_pixel_fails(
    tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Rooms.batch

    def blind(self: Rooms, indices: Any) -> Any:
        batch = read(self, indices)
        batch.targets["depth"].fill_(255)
        return batch

    run(tmp_path, methods="base")
    monkeypatch.setattr(Rooms, "batch", blind)
    register(Toy)
    assert run(tmp_path, methods="toy").computed == {"failed": 1}
    reasons = [m["reason"] for _, m in store.cells(tmp_path) if m["method"] == "toy"]
    assert reasons == ["no valid target pixel of depth in the 9 target images"]


def test_spelling_out_the_usual_values_computes_nothing_again(swept: Path) -> None:
    assert run(swept, methods="base,s4t", steps=3, set={"batch": 4, "data.workers": 2}).kept == 2
    assert run(swept, methods="base", set={"model.backbone": "test_resnet"}).kept == 1


def test_notices_are_shown_when_the_plan_is_made(tmp_path: Path) -> None:
    display = Notices()
    plan(tmp_path, methods="norm,base", set={"model.backbone": "test_convnext"}, progress=display)
    assert display.notices == [
        "hypercolumn on test_convnext has no BatchNorm layers: norm will equal base"
    ]


class Demanding(Toy):
    name = "demanding"

    def needs(self) -> Needs:
        return Needs(min_batch=64)


def test_an_impossible_cell_is_refused_if_its_method_is_named_and_noted_under_all(
    tmp_path: Path, register: Any
) -> None:
    register(Demanding)
    with pytest.raises(
        BenchError, match="demanding needs batches of at least 64 images, the smallest has 4"
    ):
        plan(tmp_path, methods="demanding")
    reasons = {cell.method: cell.reason for cell in plan(tmp_path, methods="everything").cells}
    reasons.pop("memo")  # needs batches of one image
    assert "64" in str(reasons.pop("demanding"))
    assert set(reasons.values()) == {None}


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError,
        match=r"method 'tnet'; did you mean tent(.|\n)*method 'noorm'; did you mean norm",
    ):
        plan(tmp_path, methods="tnet,base,noorm")
    with pytest.raises(BenchError, match=r"tent\.lr: (.|\n)*s4t\.mask_ratio: "):
        plan(tmp_path, methods=LINE, set={"s4t.mask_ratio": 2, "tent.lr": -1})
    with pytest.raises(
        BenchError, match="unknown pair 'rooms:rooms-mx'; did you mean rooms:rooms-mix"
    ):
        plan(tmp_path, pair="rooms:rooms-mx")


def test_an_unwritable_results_folder_fails_before_computing(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    sweep = plan(blocker / "results", methods="base")
    with pytest.raises(BenchError, match=r"cannot be written.*--results"):
        Runner(sweep, Silent()).run()


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(BenchError, match="'tpu9' cannot be used here; try --device cpu"):
        find_device("tpu9")


def test_a_model_trained_elsewhere_replaces_the_source_training(
    tmp_path: Path, swept: Path
) -> None:
    manifest = next(m for _, m in store.cells(swept) if m["method"] == "base")
    trained = swept / "checkpoints" / f"{manifest['provenance']['checkpoints'][-1]}.safetensors"
    from safetensors.torch import load_file

    weights = {name.removeprefix("model."): tensor for name, tensor in load_file(trained).items()}
    save_file(weights, tmp_path / "mine.safetensors")
    results = tmp_path / "results"
    run(results, methods="base,tent", source_weights=tmp_path / "mine.safetensors")
    assert not (results / "checkpoints").exists()
    columns = ["method", "step", "task", "metric", "class"]
    mine, theirs = (
        ttt_bench.read_results(path).query("protocol == 'online'").set_index(columns).value
        for path in (results, swept)
    )
    assert (mine == theirs[mine.index]).all()
    with pytest.raises(
        BenchError,
        match="s4t needs its own source training, which the model from --source-weights has not",
    ):
        plan(results, methods="s4t", source_weights=tmp_path / "mine.safetensors")


def test_rows_say_how_many_steps_were_asked_for(tmp_path: Path, register: Any) -> None:
    register(Drifting)
    run(tmp_path, methods="drifting", steps=2)
    rows = ttt_bench.read_results(tmp_path)
    assert set(rows.steps) == {2}
    assert set(rows.settings) == {"steps=2"}


@pytest.mark.gpu
def test_cuda_rows_agree_with_the_cpus(swept: Path, tmp_path: Path) -> None:
    """Allow 2 % of each score: training and adaptation amplify the rounding of convolutions."""
    run(tmp_path, methods=LINE, device="cuda", protocol="online,episodic,single-batch")
    key = ["method", "protocol", "step", "task"]
    cuda, cpu = (
        primary(ttt_bench.read_results(path)).set_index(key).value.sort_index()
        for path in (tmp_path, swept)
    )
    pd.testing.assert_series_equal(cuda, cpu, rtol=0.02, atol=0.2)
