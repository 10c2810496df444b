"""Problems that a plan reports, all at once, and requests that it accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from support.notices import Notices
from support.runs import plan, run
from support.toy import Toy

from ttt_bench.adapter import Needs
from ttt_bench.config.preset import ModelConfig
from ttt_bench.config.reading import parse_setting
from ttt_bench.data.shifts.views import StreamedDataset
from ttt_bench.errors import BenchError
from ttt_bench.model.architecture import build_model
from ttt_bench.registry import METHODS
from ttt_bench.results import store
from ttt_bench.results.method_names import PAPERS
from ttt_bench.sweep import opened
from ttt_bench.sweep.batches import target_batches
from ttt_bench.train.chain import trains_on_source

TASKS = {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}


def refusal(results: Path, **given: Any) -> str:
    """Return the message with which a plan is refused."""
    with pytest.raises(BenchError) as error:
        plan(results, **given)
    return str(error.value)


def test_options_that_do_not_fit_are_refused_all_at_once_with_what_is_allowed(
    tmp_path: Path,
) -> None:
    message = refusal(
        tmp_path,
        methods="s4t,clust3,nc_ttt,ttt",
        set={"s4t.mask_ratio": 1.0, "clust3.K": 1, "nc_ttt.sigma_2": 0.5, "ttt.copies": -1},
    )
    assert len(message.splitlines()) == 4
    for part in (
        "s4t.mask_ratio: Input should be less than 1, got 1.0",
        "clust3.K: Input should be greater than or equal to 2, got 1",
        "nc_ttt.sigma_2",
        "ttt.copies: Input should be greater than or equal to 0, got -1",
    ):
        assert part in message


@pytest.mark.parametrize("value", ["single:depth,edge", "single:dept", "two"])
def test_single_task_mode_takes_one_task(tmp_path: Path, value: str) -> None:
    message = refusal(tmp_path, methods="s4t", set={"s4t.tasks": value})
    assert "s4t.tasks" in message
    assert "semseg, depth, normals, edge" in message


def test_problems_that_depend_on_the_pair_are_reported_by_the_plan(tmp_path: Path) -> None:
    hidden = {"s4t.masking": "tasks", "s4t.hidden_tasks": 4}
    message = refusal(
        tmp_path, methods="s4t,tttpp", set={**hidden, "batch": 1, "data.rendered_target": 1}
    )
    assert "s4t does not fit: s4t.hidden_tasks = 4" in message
    assert "tttpp needs batches of at least 2 images, the smallest has 1" in message
    assert (
        "tent does not fit: setting rates: 'model.bones' matches no parameter that the optimiser"
        in refusal(tmp_path, methods="tent", set={"tent.rates": {"model.bones": 2.0}})
    )
    assert (
        "tent needs BatchNorm layers, which hypercolumn on test_convnext does not have"
        in refusal(tmp_path, methods="tent", set={"model.backbone": "test_convnext"})
    )


def test_a_setting_that_does_not_fit_is_refused_within_a_group_too(tmp_path: Path) -> None:
    message = refusal(tmp_path, methods="more", set={"sar.rates": {"zz": 2.0}})
    assert "sar does not fit: setting rates: 'zz' matches no parameter" in message
    assert len(message.splitlines()) == 1


def test_settings_of_a_method_that_would_not_apply_anyway_are_no_mistake(tmp_path: Path) -> None:
    cells = plan(tmp_path, methods="more", protocol="online", set={"memo.views": 4}).cells
    reasons = {cell.method: cell.reason or "" for cell in cells}
    assert "needs the protocol episodic" in reasons["memo"]


class Mistyped(Toy):
    name = "mistyped"

    def needs(self) -> Needs:
        return Needs(protocols=frozenset({"epsodic"}))


def test_a_mistyped_protocol_of_a_method_is_no_hint(tmp_path: Path, register: Any) -> None:
    register(Mistyped)
    message = refusal(tmp_path, methods="mistyped")
    assert (
        "mistyped does not fit: `needs` of mistyped returns `protocols` with an unknown" in message
    )
    assert "did you mean episodic?" in message
    assert "--protocol" not in message


class Fours(Toy):
    name = "fours"

    def needs(self) -> Needs:
        return Needs(batch=4)


@pytest.mark.parametrize(
    ("images", "batch", "message"),
    [
        (17, 8, "have 8 or 9: a last batch of one image joins the one before (--set batch=4, and "),
        (16, 8, "have 8 (--set batch=4)"),
        (14, 4, "have 2 or 4 (--set batch=4, and a multiple of 4 target images)"),
    ],
)
def test_the_sizes_of_all_batches_are_named(
    tmp_path: Path, register: Any, images: int, batch: int, message: str
) -> None:
    register(Fours)
    sizes = {"data.rendered_target": images, "batch": batch}
    found = refusal(tmp_path, methods="fours", set=sizes)
    assert f"fours needs batches of 4 images, and the target's {message}" in found


def test_the_batches_of_the_target_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(target: StreamedDataset, size: int) -> list[list[int]]:
        made.append(size)
        return target_batches(target, size)

    monkeypatch.setattr(opened, "target_batches", counted)
    plan(tmp_path, methods="base,tent,ttt")
    assert len(made) == 1


def test_a_backbone_of_fixed_size_is_refused_with_the_size_that_it_cannot_take(
    tmp_path: Path,
) -> None:
    message = refusal(
        tmp_path, methods="base", set={"model.backbone": "swin_tiny_patch4_window7_224"}
    )
    assert "swin_tiny_patch4_window7_224 cannot take the source's images of 32x32" in message
    assert "cannot take the target's images of 32x48" in message
    assert "--set data.sizes.target=[H, W]" in message


VIT = (
    "model.backbone_args={ out_indices = [0, 1, 2, 3], dynamic_img_size = true, dynamic_img_pad = "
)


def test_the_arguments_with_which_a_backbone_takes_a_size_are_named_and_help(
    tmp_path: Path,
) -> None:
    given = {"model.backbone": "test_vit3", "model.backbone_args": {"out_indices": [0, 1, 2, 3]}}
    message = refusal(tmp_path, methods="base", set=given)
    (option,) = set(re.findall(r"use --set '(.*?)', another network", message))
    assert option.startswith(VIT)
    assert plan(tmp_path, methods="base", set={**given, **dict([parse_setting(option)])}).cells
    swin = refusal(tmp_path, methods="base", set={"model.backbone": "swin_tiny_patch4_window7_224"})
    assert "use --set 'model.backbone_args={ strict_img_size = false }', another" in swin
    other = refusal(tmp_path, methods="base", set={"model.backbone": "test_maxvit"})
    assert "; use another network or other sizes" in other


def test_views_that_the_network_cannot_take_are_refused_by_the_plan(tmp_path: Path) -> None:
    arguments = {"out_indices": [0, 1, 2, 3], "dynamic_img_size": True}
    given = {"model.backbone": "test_vit", "model.backbone_args": arguments}
    message = refusal(tmp_path, methods="cotta", set={**given, "cotta.scales": [1.0, 0.75]})
    assert (
        "cotta does not fit: the network cannot take a view of 32x36 (Input width (36)" in message
    )
    assert "--set cotta.scales=[...]" in message
    assert "dynamic_img_pad=true" in message
    assert plan(tmp_path, methods="cotta", set={**given, "cotta.scales": [1.0, 2.0]}).cells
    padded = {"model.backbone_args": {**arguments, "dynamic_img_pad": True}}
    assert plan(tmp_path, methods="cotta", set={**given, **padded}).cells


def test_what_several_devices_cannot_train_alike_is_refused(tmp_path: Path) -> None:
    message = refusal(
        tmp_path,
        methods="base",
        train_devices=3,
        set={"training.batch": 2, "model.backbone_args": {"drop_path_rate": 0.5}},
    )
    assert "--train-devices 3 needs batches of at least 3 source images" in message
    assert "test_resnet draws random numbers in backbone.layer" in message


def test_a_backbone_without_batch_norm_runs_what_can_run(tmp_path: Path) -> None:
    display = Notices()
    cells = plan(tmp_path, set={"model.backbone": "test_convnext"}, progress=display).cells
    reasons = {cell.method: cell.reason for cell in cells}
    assert {method for method, reason in reasons.items() if reason} == {"tent", "actmad"}
    assert "norm will equal base" in display.notices[0]


def test_a_model_trained_elsewhere_is_for_methods_that_train_nothing_on_the_source(
    tmp_path: Path,
) -> None:
    weights = tmp_path / "mine.safetensors"
    save_file(build_model(ModelConfig(backbone="test_resnet"), TASKS).state_dict(), weights)
    results = tmp_path / "results"
    able = [name for name in PAPERS if not trains_on_source(METHODS.load(name)())]
    assert able == ["base", "norm", "tent", "tipi", "actmad"]
    run(results, source_weights=weights)
    states = {m["method"]: (m["state"], m["reason"]) for _, m in store.cells(results)}
    assert {name for name, (state, _) in states.items() if state == "done"} == set(able)
    for name in set(states) - set(able):
        assert "needs its own source training, which the model from --source-weights" in str(
            states[name][1]
        )
    stored = [path.name for path in (results / "checkpoints").glob("*.safetensors")]
    assert [name.split("-")[:2] for name in stored] == [["statistics", "actmad"]]
