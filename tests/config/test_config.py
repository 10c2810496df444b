"""Precedence of settings, and messages for those that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.toy import Joint, Toy

from ttt_bench.adapter import Hparams, Optimiser
from ttt_bench.config.changed_settings import describe_changes
from ttt_bench.config.merging import make_request
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import PRESETS, read_preset, resolve_preset
from ttt_bench.config.reading import parse_setting, read_config_file
from ttt_bench.config.request import Request, choices
from ttt_bench.data.variants import VARIANTS
from ttt_bench.errors import BenchError
from ttt_bench.protocols import PROTOCOLS
from ttt_bench.registry import METHODS


class Rated(Joint):
    name = "tent"
    paper = Hparams(citation="the paper", optimiser=Optimiser(lr=1e-5), steps=40)
    original = Hparams(
        citation="the authors",
        optimiser=Optimiser(optimiser="adam", lr=0.5),
        steps=1,
        options={"late": 9.0},
    )


PRESET = resolve_preset("quick", {})


def resolved(method: Any = Rated, preset: Any = PRESET, **request: Any) -> Any:
    return resolve_method(method, preset, make_request({}, request))


def test_hparams_are_the_last_resort() -> None:
    bare = PRESET.model_copy(update={"methods": {}, "steps": None})
    settings = resolved(preset=bare)
    assert (settings.optimiser.lr, settings.steps, settings.adapter.options.late) == (1e-5, 40, 1.0)


def test_a_preset_wins_over_hparams_and_a_setting_over_the_preset() -> None:
    preset = PRESET.model_copy(update={"methods": {"tent": {"lr": 0.25, "late": 3.0}}, "steps": 20})
    settings = resolved(preset=preset)
    assert (settings.optimiser.lr, settings.steps, settings.adapter.options.late) == (0.25, 20, 3.0)
    settings = resolved(preset=preset, set={"tent.lr": 0.75, "tent.late": 4.0}, steps=7)
    assert (settings.optimiser.lr, settings.steps, settings.adapter.options.late) == (0.75, 7, 4.0)


def test_original_hparams_bring_their_own_optimiser_and_steps() -> None:
    preset = PRESET.model_copy(
        update={"methods": {"tent": {"lr": 0.25, "strength": 3.0}}, "steps": 20}
    )
    settings = resolved(preset=preset, hparams="original")
    assert settings.optimiser == Optimiser(optimiser="adam", lr=0.5)
    assert (settings.steps, settings.adapter.options.late) == (1, 9.0)
    assert settings.adapter.options.strength == 3.0, (
        "options of the preset that do not belong to the optimiser remain"
    )
    assert resolved(preset=preset, hparams="original", set={"tent.lr": 2.0}).optimiser.lr == 2.0


def test_the_command_line_wins_over_the_config_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'methods = "base,tent"\npair = ["rooms:rooms-mix"]\nsteps = 9\nseeds = [0, 1]\n'
        'preset = "smoke"\n'
        'data-root = "/data"\n[set.tent]\nlr = 0.5\n[set]\n"s4t.mask_ratio" = 0.25\n'
    )
    request = make_request(
        read_config_file(path), {"steps": 3, "set": {"tent.lr": 0.125}, "seeds": None}
    )
    assert (request.methods, request.steps, request.seeds, request.preset) == (
        ("base", "tent"),
        3,
        (0, 1),
        "smoke",
    )
    assert request.set == {"tent.lr": 0.125, "s4t.mask_ratio": 0.25}
    assert request.data_root == Path("/data")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s4t.mask_ratio=0.5", 0.5),
        ("model.pretrained=false", False),
        ("model.backbone=resnet18", "resnet18"),
        ('model.backbone="resnet18"', "resnet18"),
        ("s4t.depth=[2, 1]", [2, 1]),
        (f"data.seed={'1' * 5000}", "1" * 5000),  # Python refuses numbers of more than 4,300 digits
    ],
)
def test_settings_are_read_as_toml_and_else_as_text(text: str, expected: Any) -> None:
    assert parse_setting(text) == (text.partition("=")[0], expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "quik"}, "unknown preset 'quik'; did you mean quick?"),
        ({"hparams": "papper"}, "unknown hparams 'papper'; did you mean paper"),
        ({"protocol": "onlin"}, "unknown protocol 'onlin'; did you mean online?"),
        ({"steps": 0}, "steps: Input should be greater than 0, got 0"),
        ({"steps": 2**63}, "steps: Input should be less than or equal to 100000"),
        ({"seeds": [-1]}, "seeds: Input should be greater than or equal to 0, got -1"),
        ({"seeds": [2**63]}, f"seeds: Input should be less than {2**63}"),
        ({"seeds": [True]}, "seeds: takes a number, got True"),
        ({"seeds": [[1]]}, r"seeds: Input should be a valid integer, got \[1\]"),
        ({"methods": [{}]}, "methods: Input should be a valid string, got {}"),
        ({"control": {}}, "control: Input should be a valid string, got {}"),
        ({"device": "gpu"}, "device: must be auto, cpu, cuda, or cuda:N, got 'gpu'"),
        ({"results": ""}, "results: '' is not a path"),
        ({"results": "a\0b"}, r"results: 'a\\x00b' is not a path"),
        ({"seeds": "0,x"}, "seeds: Input should be a valid integer.*got 'x'"),
    ],
)
def test_a_wrong_choice_names_the_nearest(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        make_request({}, given)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.bakbone=resnet18", "unknown setting 'bakbone'; did you mean backbone"),
        ("training.lr=-1", r"training\.lr: Input should be greater than 0, got -1"),
        ("data.sizes.source=[8, 8]", "size 8x8 of source is too small"),
        ("training.lr=inf", r"training\.lr: Input should be a finite number"),
        ("data.seed=false", r"data\.seed: takes a number, got False"),
        ("data.rendered_target=9223372036854775808", "rendered_target: Input should be less than"),
        ("batch.x=7", "batch is a single value"),
    ],
)
def test_a_wrong_preset_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        resolve_preset("quick", dict([parse_setting(setting)]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tent.strenth=1", "unknown option 'strenth'; did you mean strength"),
        ("tent.strength=-1", r"tent\.strength: Input should be greater than or equal to 0, got -1"),
        ("tent.lr=inf", r"tent\.lr: Input should be a finite number"),
        ("tent.lr=false", r"tent\.lr: takes a number, got False"),
        (f"tent.lr={'[' * 3000}", r"tent\.lr: Input should be a valid number.*\[\.\.\.$"),
        ("tent.steps=458291", r"from 1 to 100,000, got 458291"),
        ("tent.lr=fast", r"tent\.lr: Input should be a valid number.*got 'fast'"),
        ("tent.steps=0", r"tent\.steps must be a whole number from 1 to 100,000"),
    ],
)
def test_a_wrong_method_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        resolved(set=dict([parse_setting(setting)]))


@pytest.mark.parametrize("text", ["lr=1", "s4t.mask_ratio", "=3"])
def test_a_setting_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match=r"section\.key=value"):
        parse_setting(text)


def test_a_config_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file"):
        read_config_file(tmp_path / "none.toml")
    path = tmp_path / "a.toml"
    path.write_text("methods = [\n")
    with pytest.raises(BenchError, match=r"a\.toml: not valid TOML \(Invalid value"):
        read_config_file(path)
    path.write_text("stepps = 3\n")
    with pytest.raises(BenchError, match="unknown option 'stepps'; did you mean steps"):
        read_config_file(path)


def described(method: Any = Rated, shuffled: bool = False, **given: Any) -> str:
    request = make_request({}, given)
    preset = resolve_preset("quick", request.set)
    settings = resolve_method(method, preset, request)
    return describe_changes(
        settings,
        preset,
        request,
        preset_name="quick",
        choices={"stream": "shuffled"} if shuffled else {},
    )


def test_rows_name_the_changed_settings_that_affect_them() -> None:
    given = {"tent.lr": 0.5, "s4t.mask_ratio": 0.5, "data.rendered_target": 64, "data.workers": 3}
    assert described(set=given, steps=5) == "data.rendered_target=64; steps=5; tent.lr=0.5"
    assert (
        described(set=given, shuffled=True)
        == "data.rendered_target=64; stream=shuffled; tent.lr=0.5"
    )


def test_a_setting_equal_to_its_default_is_omitted() -> None:
    tent = PRESET.methods["tent"]["lr"]
    assert (
        described(
            set={"data.rendered_target": 128, "tent.lr": tent, "batch": 8}, steps=PRESET.steps
        )
        == ""
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves_for_every_method(preset: str) -> None:
    whole = resolve_preset(preset, {})
    assert read_preset(preset)["description"] == whole.description
    for name in METHODS.names():
        for hparams in ("paper", "original"):
            settings = resolve_method(
                METHODS.load(name), whole, make_request({}, {"hparams": hparams})
            )
            assert settings.steps >= 1


def test_the_paper_preset_is_the_published_protocol() -> None:
    preset = resolve_preset("paper", {})
    assert (preset.model.backbone, preset.model.pretrained) == ("resnet50.tv_in1k", True)
    training = preset.training
    assert (
        training.shared_iterations,
        training.iterations,
        training.lr,
        training.weight_decay,
    ) == (
        0,
        60000,
        2e-5,
        1e-6,
    )
    assert (training.batch, preset.batch, preset.steps) == (8, 8, 40)
    assert (
        preset.data.size("taskonomy", "source")
        == preset.data.size("taskonomy", "target")
        == (256, 256)
    )
    settings = resolve_method(Toy, preset, make_request({}, {}))
    assert settings.optimiser == Optimiser(
        optimiser="sgd", lr=2e-5, momentum=0.0, weight_decay=1e-6
    )


def test_the_data_root_comes_from_the_environment_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTT_BENCH_DATA", "/environment")
    assert make_request({}, {}).data_root == Path("/environment")
    assert make_request({"data_root": "/file"}, {}).data_root == Path("/file")
    assert make_request({"data_root": "/file"}, {"data_root": Path("/line")}).data_root == Path(
        "/line"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": ""}, "methods: give at least one value"),
        ({"seeds": ""}, "seeds: give at least one value"),
    ],
)
def test_an_empty_list_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        make_request({}, given)


def test_duplicates_run_once() -> None:
    request = make_request(
        {}, {"seeds": "0,0,1", "methods": "base,base", "protocol": "online,online"}
    )
    assert (request.seeds, request.methods, request.protocol) == ((0, 1), ("base",), ("online",))


def test_momentum_of_nesterov_is_asked_for_when_settings_are_resolved() -> None:
    with pytest.raises(BenchError, match="nesterov needs a momentum above 0"):
        resolved(set={"tent.nesterov": True})


def test_a_table_where_a_value_belongs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="backbone is a single value"):
        resolve_preset("quick", {"model.backbone.x": 1})
    path = tmp_path / "a.toml"
    path.write_text("set = 3\n")
    with pytest.raises(BenchError, match="set must be a table"):
        read_config_file(path)


def test_every_wrong_choice_is_named_at_once() -> None:
    with pytest.raises(BenchError) as caught:
        make_request({}, {"preset": "quik", "control": "frozn", "seeds": [True]})
    places = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert places == ["seeds", "control", "preset"]


def test_a_message_names_where_the_value_was_written() -> None:
    with pytest.raises(BenchError) as caught:
        make_request({"steps": 0}, {"data_root": ""}, file=Path("a.toml"), flags=True)
    assert [line.rpartition(": ")[0] for line in str(caught.value).splitlines()] == [
        "config file a.toml: steps",
        "--data-root",
    ]


def test_a_setting_has_one_value() -> None:
    with pytest.raises(BenchError, match="give one value on one line"):
        parse_setting("training.batch=1\n[other]\nkey=2")


def test_a_byte_order_mark_before_a_config_file_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("steps = 3\n", encoding="utf-8-sig")
    assert read_config_file(path) == {"steps": 3}


def test_a_config_file_that_cannot_be_read_gives_the_cause(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is a folder"):
        read_config_file(tmp_path)
    path = tmp_path / "a.toml"
    path.write_text(f"steps = {'[' * 3000}")
    with pytest.raises(BenchError, match="nested too deeply"):
        read_config_file(path)


def test_a_tilde_is_the_home_folder_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("TTT_BENCH_DATA", "~/data")
    request = make_request({"results": "~/runs"}, {"source_weights": "~/weights.safetensors"})
    assert request.results == Path("/home/someone/runs")
    assert request.data_root == Path("/home/someone/data")
    assert request.source_weights == Path("/home/someone/weights.safetensors")
    model = resolve_preset("smoke", {"model.weights": "~/backbone.pth"}).model
    assert model.weights == Path("/home/someone/backbone.pth")


def test_every_field_of_a_request_has_a_help_text_and_a_closed_choice_its_values() -> None:
    assert all(field.description for field in Request.model_fields.values())
    assert {name: choices(name) for name in Request.model_fields if choices(name)} == {
        "protocol": tuple(PROTOCOLS),
        "control": ("none", "frozen"),
        "preset": PRESETS,
        "hparams": ("paper", "original", "tuned"),
        "data_variant": tuple(VARIANTS),
    }
