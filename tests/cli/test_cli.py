"""The command line: its output, streams and exit codes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open
from support.command import Signalling, call, refused
from support.paths import SAMPLES

from ttt_bench import read_results
from ttt_bench.cli.main import main
from ttt_bench.results import store
from ttt_bench.results.method_names import PAPERS

SMOKE = ("run", "--preset", "smoke", "--methods", "base,norm,tent", "--device", "cpu")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> Path:
    """Make the smallest run by the command line."""
    folder = tmp_path_factory.mktemp("cli") / "results"
    done = call(*SMOKE, "--results", str(folder), TTT_BENCH_CACHE=str(room_cache))
    assert done.returncode == 0, done.stderr
    assert "Delta_TTT" in done.stdout
    assert "3 done" in done.stderr
    assert str(folder) in done.stderr
    return folder


def test_version_and_help() -> None:
    assert call("--version").stdout.startswith("ttt-bench ")
    text = call("run", "--help").stdout
    for option in (
        "--methods",
        "--pair",
        "--steps",
        "--seeds",
        "--protocol",
        "--preset",
        "--hparams",
        "--set",
        "--config",
        "--device",
        "--results",
        "--data-root",
        "--plan",
        "--json",
    ):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--methods", "tnet"), "unknown method 'tnet'; did you mean tent"),
        (
            ("run", "--pair", "rooms:room-mix"),
            "unknown pair 'rooms:room-mix'; did you mean rooms:rooms-mix",
        ),
        (("run", "--pair", "rooms"), "a pair is written source:target"),
        (("run", "--preset", "quikc"), "unknown preset 'quikc'; did you mean quick?"),
        (("run", "--protocol", "offline"), "unknown protocol 'offline'; did you mean online?"),
        (
            ("run", "--set", "s4t.mask_ration=0.5"),
            "unknown option 'mask_ration'; did you mean mask_ratio",
        ),
        (("run", "--set", "s5t.mask_ratio=0.5"), "unknown setting 's5t'; did you mean s4t"),
        (("run", "--stepps", "3"), "No such option"),
        (("rum",), "No such command 'rum'"),
        (("methods", "show", "tnet"), "unknown method 'tnet'; did you mean tent"),
        (("data", "show", "room"), "unknown data set 'room'; did you mean rooms"),
        (("data", "show", "rooms", "--split", "tset"), "unknown split 'tset'; did you mean test"),
        (("data", "show", "rooms", "--size", "64"), "--size takes HEIGHTxWIDTH"),
        (("params", "--tasks", "depht"), "unknown task 'depht'; did you mean depth"),
        (("params", "--backbone", "resnet51"), "unknown backbone 'resnet51'; did you mean resnet5"),
        (
            ("params", "--set", "model.architecture=hypercolum"),
            "unknown network 'hypercolum'; did you mean hypercolumn",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_names(
    arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "base", "--set", "s4t.mask_rati=1"), "did you mean mask_ratio"),
        (("--set", "training.batch=1"), "larger batch (--set training.batch=N)"),
        (("--set", "batch=1", "--set", "data.sizes.target=[32,32]"), "(--set batch=N)"),
        (("--source-weights", "/"), "--source-weights: / is a folder"),
        (("--set", "model.backbone_args.output_stride=7"), "cannot be built"),
        (("--seeds", "99999999999999999999"), "--seeds: Input should be less than"),
        (("--results", "x" * 300), "its name or path is too long"),
    ],
)
def test_the_plan_refuses_what_cannot_run(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("run", "--preset", "smoke", *arguments, "--plan")


def test_names_with_colons_are_printed_as_they_are() -> None:
    assert "'a:b:c'" in refused("run", "--preset", "smoke", "--pair", "a:b:c", "--plan")
    assert ":car:" in call("report", "--results", "no:car:here").stderr


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert f"{tmp_path / 'runs'} does not exist" in refused("report", "--results=~/runs", HOME=home)
    arguments = ("data", "list", "--data-root=~/data")
    done = call(*arguments, HOME=home, COLUMNS="300")
    assert f"{tmp_path / 'data'} (does not exist)" in done.stdout


def test_a_file_that_lacks_a_sign_and_a_notebooks_backend_do_not_stop_a_command(
    results: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "MPLBACKEND": "module://missing"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ttt_bench.cli.main", "report"),
            *("--results", str(results), "--out", str(tmp_path / "out"), "--tables", "main"),
        ],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("cp1252")
    assert b"Delta_TTT" in done.stdout


def test_the_message_on_a_missing_data_root_states_how_to_set_it(tmp_path: Path) -> None:
    message = refused("run", "--pair", "rooms:taskonomy", "--preset", "smoke")
    assert "TTT_BENCH_DATA" in message
    assert "taskonomy/" in message
    message = refused(
        "run", "--pair", "rooms:taskonomy", "--preset", "smoke", "--data-root", str(tmp_path)
    )
    assert str(tmp_path / "taskonomy") in message
    assert "TTT_BENCH_DATA" in message


def test_missing_results_are_named(tmp_path: Path) -> None:
    assert f"results folder {tmp_path / 'none'} does not exist" in refused(
        "report", "--results", str(tmp_path / "none")
    )
    assert f"results folder {tmp_path} has no results" in refused(
        "report", "--results", str(tmp_path)
    )


def test_an_unwritable_results_folder_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused(
        "run", "--preset", "smoke", "--methods", "base", "--results", str(tmp_path / "file" / "x")
    )
    assert "cannot be written" in message
    assert "--results" in message


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (("methods", "list"), ["method", "group", "package", "version", "location"]),
        (("networks", "list"), ["network", "package", "version", "location"]),
        (("pairs", "list"), ["pair", "tasks", "label_space", "data", "preset"]),
        (("data", "list"), ["name", "description", "tasks", "label_spaces", "data", "package"]),
        (
            ("params", "--backbone", "test_resnet"),
            [
                "method",
                "published",
                "millions",
                "total",
                "backbone",
                "heads",
                "added",
                "moved",
                "architecture",
            ],
        ),
    ],
)
def test_a_listing_is_a_table_or_json_alone_on_stdout(
    arguments: tuple[str, ...], columns: list[str]
) -> None:
    records = json.loads(call(*arguments, "--json").stdout)
    assert records
    assert all(list(record) == columns for record in records)
    table = call(*arguments).stdout
    for record in records:
        assert str(record[columns[0]]) in table


def test_params_are_the_papers_at_resnet_50(tmp_path: Path) -> None:
    table = call("params", "--backbone", "resnet50", "--out", str(tmp_path)).stdout
    for name in ("parameters.md", "parameters.tex", "parameters.csv"):
        assert "29.24" in (tmp_path / name).read_text(encoding="utf-8"), name
    assert "trainable parameters, hypercolumn on resnet50, " in table
    assert "29.24" in table, "published for any weights of the architecture"
    records = {record["method"]: record for record in json.loads(call("params", "--json").stdout)}
    assert records["base"] == {
        "method": "base",
        "total": 23554124,
        "millions": 23.55,
        "published": None,
        "backbone": 23508032,
        "heads": 46092,
        "added": 0,
        "moved": 0,
        "architecture": "adds no modules",
    }
    assert records["tent"]["moved"] == 53120
    assert (records["s4t"]["total"], records["s4t"]["added"]) == (29236632, 5682508)
    assert records["s4t"]["published"] == 29.24


def test_a_manifest_has_the_parameters_of_its_network(results: Path) -> None:
    manifests = {manifest["method"]: manifest for _, manifest in store.cells(results)}
    trained = manifests["base"]["provenance"]["checkpoints"][-1]
    with safe_open(results / "checkpoints" / f"{trained}.safetensors", "pt") as file:
        sizes = {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    norms = [name.removesuffix("running_mean") for name in sizes if name.endswith("running_mean")]
    affine = sum(sizes[f"{name}weight"] + sizes[f"{name}bias"] for name in norms)
    weights = sum(size for name, size in sizes.items() if name.endswith((".weight", ".bias")))
    heads = sum(size for name, size in sizes.items() if name.startswith("model.heads."))
    whole = {"total": weights, "backbone": weights - heads, "heads": heads, "added": 0}
    assert manifests["base"]["parameters"] == {**whole, "moved": 0}
    assert manifests["tent"]["parameters"] == {**whole, "moved": affine}


def test_a_card_describes_a_method() -> None:
    text = call("methods", "show", "s4t").stdout
    for word in ("S4T", "mask_ratio", "0.8", "--set s4t.OPTION=VALUE"):
        assert word in text
    fields = {
        record["field"]: record["value"]
        for record in json.loads(call("methods", "show", "s4t", "--json").stdout)
    }
    assert fields["own source model"] == "yes"
    assert "hypercolumn on resnet50.tv_in1k, initial weights: timm tv_in1k" in fields["network"]
    assert fields["option lambda_tp"]["paper"] == "1.0"
    assert fields["option lambda_tp"]["original"] == "official"
    assert "every method" in fields["--hparams paper"]


def test_a_plan_shows_states_and_does_nothing(results: Path, tmp_path: Path) -> None:
    arguments = (
        "run",
        "--preset",
        "smoke",
        "--methods",
        "base,s4t",
        "--results",
        str(results),
        "--plan",
    )
    before = sorted(results.rglob("*"))
    cache = tmp_path / "cache"
    records = json.loads(call(*arguments, "--json", TTT_BENCH_CACHE=str(cache)).stdout)
    assert {record["method"]: record["state"] for record in records} == {
        "base": "done",
        "s4t": "missing",
    }
    assert sorted(results.rglob("*")) == before
    assert not cache.exists(), "a plan renders nothing"
    assert "done" in call(*arguments).stdout


def test_a_plan_names_settings_of_all_cells_once_and_readably(tmp_path: Path) -> None:
    tasks = ("--set", "data.tasks=semseg,depth,normals,edge")
    given = ("--preset", "smoke", "--methods", "base,tent", "--results", str(tmp_path), "--plan")
    own = ("--set", "tent.lr=0.5")
    shown = " ".join(call("run", *given, *tasks, *own, COLUMNS="80").stdout.split())
    assert "(preset smoke, hparams paper, data.tasks=semseg,depth,normals,edge)" in shown
    assert shown.count("data.tasks") == 1
    assert "tent.lr=0.5 missing" in shown
    records = json.loads(call("run", *given, *tasks, *own, "--json").stdout)
    assert all("data.tasks=" in record["settings"] for record in records)


def test_run_again_computes_nothing_and_json_is_alone_on_stdout(results: Path) -> None:
    done = call(*SMOKE, "--results", str(results), "--json")
    assert "nothing to compute, 3 already finished" in done.stderr
    assert {record["label"] for record in json.loads(done.stdout)} >= {"base", "norm", "tent"}


def test_a_config_file_sets_the_same_as_the_options(results: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'methods = "base,norm,tent"\npreset = "smoke"\nresults = "{results}"\ndevice = "cpu"\n'
    )
    assert "3 already finished" in call("run", "--config", str(config)).stderr


def test_report_writes_a_page_and_prints_its_path(results: Path, tmp_path: Path) -> None:
    done = call("report", "--results", str(results), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "out" / "index.html") in done.stderr
    assert "TENT" in done.stdout


def test_train_scores_the_source_model_and_the_position_prior(results: Path) -> None:
    done = call(
        "train",
        "--preset",
        "smoke",
        "--methods",
        "base,tent",
        "--results",
        str(results),
        "--device",
        "cpu",
        "--json",
    )
    records = json.loads(done.stdout)
    assert [(r["model"], r["task"]) for r in records] == [
        ("base", task) for task in ("semseg", "depth", "normals", "edge")
    ]
    assert all(
        record["ratio"] == pytest.approx(record["score"] / record["prior"]) for record in records
    )


def test_data_show_writes_a_sheet(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    done = call("data", "show", "rooms", "--count", "2", "--size", "32x48", "--out", str(path))
    assert done.returncode == 0, done.stderr
    with Image.open(path) as sheet:
        assert min(sheet.size) > 200


def test_a_run_that_is_stopped_three_times_resumes_and_ends_the_same(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    command = (*SMOKE, "--results", str(folder))
    for kill, bar in ((signal.SIGINT, "training"), (signal.SIGTERM, "online")):
        with monkeypatch.context() as patch:
            display = Signalling(kill, bar)
            patch.setattr("ttt_bench.cli.run.Display", lambda display=display: display)
            done = call(*command)
        assert done.returncode == 130, done.stderr
        assert "run the same command again" in done.stderr
        assert "Traceback" not in done.stderr
    kill_at_next_file(folder, command)
    assert call(*command).returncode == 0
    first, second = (read_results(path) for path in (folder, results))
    columns: list[Any] = ["method", "step", "task", "value"]
    assert first[columns].equals(second[columns])


def test_a_command_with_closed_output_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python sets it after `>&-`
    monkeypatch.setattr(sys, "argv", ["ttt-bench", "--version"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_on_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ttt_bench.cli.main", "methods", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the output cannot be written (No space left on device)")


def kill_at_next_file(folder: Path, command: tuple[str, ...]) -> None:
    """Run a command in a process, and kill that process when it has written a cell's file."""
    before = set(folder.glob("cells/*/*/*"))
    program = subprocess.Popen(
        [sys.executable, "-m", "ttt_bench.cli.main", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 50
    while (
        time.monotonic() < deadline
        and set(folder.glob("cells/*/*/*")) <= before
        and program.poll() is None
    ):
        time.sleep(0.02)
    program.kill()
    program.wait(timeout=50)


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are not next to the project")
def test_the_main_job_runs_on_real_photographs(tmp_path: Path) -> None:
    arguments = (
        "--methods",
        "all",
        "--pair",
        "rooms:taskonomy",
        "--preset",
        "smoke",
        "--device",
        "cpu",
    )
    done = call("run", *arguments, "--results", str(tmp_path), "--data-root", str(SAMPLES))
    assert done.returncode == 0, done.stderr
    assert "semseg is left out, taskonomy has no labels for it" in done.stderr
    rows = read_results(tmp_path)
    assert set(rows.task) == {"depth", "normals", "edge"}
    assert set(rows.method) == set(PAPERS) - {"tent"}
    assert "needs semseg, which the pair does not have" in done.stdout
    assert not list(tmp_path.rglob("examples.npz")), "real images are never stored"
    assert "tent needs semseg" in refused(
        "run",
        "--methods",
        "tent",
        *arguments[2:],
        "--results",
        str(tmp_path),
        "--data-root",
        str(SAMPLES),
    )
    check = call("data", "check", str(SAMPLES / "taskonomy"), "--dry-run")
    assert check.returncode == 0
    assert "1/512" in check.stdout
