"""Studies through the command line: cells, resuming, the record, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.command import call, refused
from support.short_form import short_form

from ttt_bench import open_results
from ttt_bench.analysis.studies import study_results, without_study_cells
from ttt_bench.config.request import Request
from ttt_bench.designs import declared_studies
from ttt_bench.designs.declared_studies import find_study
from ttt_bench.designs.study import Study
from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.results.study_files import StudyFile, read_studies
from ttt_bench.studies.declared import wanted_arms
from ttt_bench.sweep.resolve import resolve

SMALL = (
    *("--preset", "smoke", "--device", "cpu", "--methods", "base,tent"),
    *("--set", "data.rendered_target=2", "--set", "training.iterations=1"),
)
SHORT = ("main", "components", "mask-ratio", "noise", "tbs-loss", "sync")
OF_CELLS = {"short": SHORT, "whole": (*SHORT, "masking", "single-task")}
"""Studies that consist of cells."""
OWN = """
title = "Hidden tokens"
methods = ["s4t"]
show = ["table"]

[[arms]]
label = "encoded"
set = { "s4t.drop" = false }

[[arms]]
label = "default"
"""


def ends(name: str) -> Study:
    """Return a study of the package with the first and last value of its axis alone."""
    study = declared_studies.declared(name)
    if study.axis is None:
        return study
    values = (study.axis.values[0], study.axis.values[-1])
    return study.model_copy(update={"axis": study.axis.model_copy(update={"values": values})})


@pytest.fixture(scope="module", params=short_form(OF_CELLS, ("short",)))
def studies(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the names of the studies that are run."""
    return OF_CELLS[request.param]


@pytest.fixture(scope="module")
def folder(
    studies: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory, room_cache: Path
) -> Path:
    """Run studies that consist of cells, and write the report."""
    shortened = {name: ends(name) for name in studies}
    path = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        patch.setattr(declared_studies, "declared", shortened.__getitem__)
        done = call("study", *studies, *SMALL, "--results", path / "results")
        assert done.returncode == 0, done.stderr
    reported = call("report", "--results", path / "results", "--out", path / "report")
    assert reported.returncode == 0, reported.stderr
    return path


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, StudyFile]:
    """Return the stored studies by name."""
    found, problems = read_studies(folder / "results")
    assert not problems
    return {file.study.name: file for file in found}


def test_every_cell_of_every_arm_is_stored_once(
    studies: tuple[str, ...], folder: Path, files: dict[str, StudyFile]
) -> None:
    stored = [manifest["config"] for _, manifest in store.cells(folder / "results")]
    assert len(stored) == len(set(stored))
    assert set(files) == set(studies)
    assert {cell for file in files.values() for cell in file.cells} == set(stored)


def test_studies_share_cells(files: dict[str, StudyFile]) -> None:
    assert files["tbs-loss"].cells == files["mask-ratio"].cells
    assert files["main"].cells == files["sync"].cells
    without_masking = {arm.label: set(arm.cells) for arm in files["components"].arms}["TRL + TP"]
    assert without_masking <= files["mask-ratio"].cells


def test_an_arm_has_the_settings_that_it_declares(
    folder: Path, files: dict[str, StudyFile]
) -> None:
    manifests = {manifest["config"]: manifest for _, manifest in store.cells(folder / "results")}
    for arm, stored in zip(
        files["mask-ratio"].study.all_arms, files["mask-ratio"].arms, strict=True
    ):
        cells = [manifests[cell] for cell in stored.cells]
        ratios = [cell["options"]["mask_ratio"] for cell in cells if cell["method"] == "s4t"]
        assert ratios == [arm.value]
    targets = [manifests[arm.cells[0]]["pair"] for arm in files["noise"].arms]
    assert targets[0] == "rooms:rooms-mix"
    assert targets[-1] == "rooms:rooms-mix+gaussian_noise@0.4"


def test_the_estimates_of_an_arm_are_those_of_its_cells(
    folder: Path, files: dict[str, StudyFile]
) -> None:
    results = open_results(folder / "results")
    found = study_results(results, files["noise"]).estimates("fixed")
    for arm, own in found.groupby("arm"):
        pair = f"rooms:rooms-mix+gaussian_noise@{own['value'].iloc[0]:g}"
        expected = results.select(pairs=pair.removesuffix("+gaussian_noise@0")).scores()
        for row in own[own["quantity"] == "delta_ttt"].itertuples():
            shown = expected[expected["label"] == row.label]["delta_ttt"]
            assert row.mean == pytest.approx(shown.item()), arm


def test_the_main_comparison_is_without_the_arms(folder: Path, files: dict[str, StudyFile]) -> None:
    results = open_results(folder / "results")
    kept = without_study_cells(results, list(files.values()))
    (comparison,) = kept.comparisons
    assert comparison.key.pair == "rooms:rooms-mix"
    assert set(comparison.labels) == {"base", "norm", "tent", "tent (frozen)", "s4t"}


def test_a_section_per_study(folder: Path, files: dict[str, StudyFile]) -> None:
    folders = {path.name for path in (folder / "report").iterdir() if path.is_dir()}
    own = {f"study-{file.slug}" for name, file in files.items() if name not in ("main", "sync")}
    assert own <= folders
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    for name in own:
        assert f'id="{name}"' in page


def test_an_own_study_shares_the_cells(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hidden.toml").write_text(OWN, encoding="utf-8")
    arguments = ("study", tmp_path / "hidden.toml", *SMALL, "--results", folder / "results")
    planned = call(*arguments, "--plan", "--json")
    assert planned.returncode == 0, planned.stderr
    rows = pd.DataFrame(json.loads(planned.stdout))
    assert rows[["study", "arm", "cells", "finished"]].to_numpy().tolist() == [
        ["hidden", "encoded", 2, 1],
        ["hidden", "default", 2, 2],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("s4t.drop", "s4t.drpo"), "own, encoded: s4t.drpo: unknown option 'drpo'"),
        (OWN.replace('["s4t"]', '["s5t"]'), "own, encoded: unknown method 's5t'"),
        (OWN.replace("= false }", "= 7 }"), "own, encoded: s4t.drop"),
    ],
)
def test_an_arm_that_cannot_run_is_refused_by_its_name(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    done = refused("study", tmp_path / "own.toml", "--preset", "smoke", "--results", tmp_path / "r")
    assert message in done
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("preset", "backbone"), [("paper", "hrnet_w48"), ("quick", "hrnet_w18_small_v2")]
)
def test_an_arm_belongs_to_its_presets(preset: str, backbone: str) -> None:
    request = Request(preset=preset, pair=("rooms:rooms-mix",))
    study = find_study("strong-baseline")
    wanted = wanted_arms(request, (study,), resolve(request))
    own, *others = [one.resolved.pairs[0].preset.model for one in wanted]
    assert own.architecture == "hypercolumn"
    assert {(one.architecture, one.backbone) for one in others} == {("mti_net", backbone)}
    arms = [one.arm for one in wanted[1:]]
    assert ["nc_ttt.whole" in arm.set for arm in arms] == [False, True]


def test_an_unknown_preset_of_an_arm_is_refused() -> None:
    request = Request(pair=("rooms:rooms-mix",))
    study = find_study("strong-baseline")
    arm = study.arms[0].model_copy(update={"presets": ("quik",)})
    wrong = study.model_copy(update={"arms": (arm,)})
    with pytest.raises(BenchError, match=r"S4T: unknown preset 'quik'; did you mean quick"):
        wanted_arms(request, (wrong,), resolve(request))
