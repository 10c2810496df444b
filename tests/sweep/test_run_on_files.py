"""Messages about data files: missing, never checked, or changed since a model was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.command import Done, call, refused
from support.files import data_roots, nyud_files, taskonomy_files
from support.notices import Notices
from support.runs import plan

from ttt_bench.results import store

UNCHECKED = "these files were not checked; run `ttt-bench data check`"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return data_roots.small(tmp_path / "data")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def arguments(
    root: Path, results: Path, *more: str, pair: str = "taskonomy:nyud"
) -> tuple[str, ...]:
    where = ("--data-root", str(root), "--results", str(results), "--device", "cpu")
    return ("--pair", pair, "--preset", "smoke", "--methods", "base", *where, *more)


def run(root: Path, results: Path, *more: str, pair: str = "taskonomy:nyud") -> Done:
    done = call("run", *arguments(root, results, *more, pair=pair))
    assert done.returncode == 0, done.stderr
    return done


def repaint(root: Path, stem: str = "point_0_view_0") -> None:
    """Replace an image by another one of the same name."""
    path = taskonomy_files.file_of(root / "taskonomy", "hanson", stem, "rgb")
    taskonomy_files.rewrite(path, taskonomy_files.scene(64, 99).rgb)


def bases(results: Path) -> set[str]:
    """Return what the rows of a results folder rest on."""
    records = [manifest["provenance"] for _, manifest in store.cells(results)]
    return {each[f"{role}_files"]["basis"] for each in records for role in ("source", "target")}


def fingerprints(results: Path) -> set[str]:
    return {manifest["provenance"]["source_data"] for _, manifest in store.cells(results)}


# never checked, checked, changed since


def test_a_run_on_unchecked_files_reports_it(root: Path, results: Path) -> None:
    done = run(root, results)
    for title in ("Taskonomy", "NYUD-v2"):
        assert f"note: {title}: {UNCHECKED}" in done.stderr
        assert f"note: {title}: normal axes are assumed to be " in done.stderr
    _, manifest = next(store.cells(results))
    assert sum(UNCHECKED in notice for notice in manifest["notices"]) == 2


def test_a_run_on_checked_files_gives_no_notice_until_they_change(
    root: Path, results: Path
) -> None:
    assert call("data", "check", str(root)).returncode == 0
    done = run(root, results)
    assert "data check" not in done.stderr
    _, manifest = next(store.cells(results))
    assert not any("data check" in notice for notice in manifest["notices"])
    assert bases(results) == {"sampled"}
    repaint(root)
    done = call("run", *arguments(root, results.with_name("other")))
    changed = (
        "note: Taskonomy: these files are not the ones that were checked; "
        "run `ttt-bench data check` again"
    )
    assert changed in done.stderr
    assert "NYUD-v2: these files" not in done.stderr


# changed since a model was trained on them


def test_a_run_on_other_files_than_its_source_model_is_refused_with_both_fingerprints(
    root: Path, results: Path
) -> None:
    run(root, results)
    (before,) = fingerprints(results)
    kept = shutil.copytree(root, root.with_name("kept"))
    repaint(root)
    files = sorted(results.rglob("*"))
    for command in (("run",), ("run", "--plan"), ("train",)):
        message = refused(command[0], *arguments(root, results), *command[1:])
        assert f"were trained on data with the fingerprint {before}" in message
        assert (
            "the data of taskonomy at 32x32, variant corrected, classes of taskonomy_nyud_7"
            in message
        )
        after = message.split("have the fingerprint ")[1].split(",")[0]
        assert len(after) == 16
        assert after != before
        assert "restore the files, or train in another folder (--results)" in message
    assert sorted(results.rglob("*")) == files, "nothing was written"
    # either of the two remedies
    assert "1 already finished" in run(kept, results).stderr
    run(root, results.with_name("other"))
    assert fingerprints(results.with_name("other")) == {after}


def test_files_may_change_where_no_model_was_kept(root: Path, results: Path) -> None:
    run(root, results)
    shutil.rmtree(results / "checkpoints")
    repaint(root)
    assert "training base on taskonomy" in run(root, results).stderr
    # and where a run ended before it had one
    for path in (results / "checkpoints").glob("*.safetensors"):
        path.unlink()
    repaint(root, "point_2_view_0")
    run(root, results)
    assert len(json.loads((results / "checkpoints" / "data.json").read_text())["fingerprints"]) == 1


def test_a_source_model_that_train_made_is_guarded_too(root: Path, results: Path) -> None:
    done = call("train", *arguments(root, results))
    assert done.returncode == 0, done.stderr
    repaint(root)
    assert "were trained on data with the fingerprint" in refused("run", *arguments(root, results))


@pytest.mark.slow
def test_other_sizes_variants_and_pairs_of_the_same_files_are_no_change(
    root: Path, results: Path
) -> None:
    run(root, results)
    run(root, results, "--set", "data.sizes.source=[48, 48]")
    run(root, results, "--data-variant", "official")
    run(root, results, pair="taskonomy:pascal")
    assert "1 already finished" in run(root, results).stderr
    assert len(fingerprints(results)) == 4


def test_other_target_files_are_another_cell(root: Path, results: Path) -> None:
    run(root, results)
    shown = nyud_files.view((48, 64), 77)
    nyud_files.write_view(root / "nyud", "0001", shown)
    done = run(root, results)
    assert "training" not in done.stderr
    manifests = [manifest for _, manifest in store.cells(results)]
    assert len({manifest["provenance"]["target_data"] for manifest in manifests}) == 2
    assert len({manifest["comparison"] for manifest in manifests}) == 2, "they never share a table"


def test_a_damaged_note_of_the_training_data_is_set_aside(root: Path, results: Path) -> None:
    run(root, results)
    note = results / "checkpoints" / "data.json"
    whole = note.read_bytes()
    note.write_bytes(whole.replace(b"taskonomy", b"taskanomy"))
    heard = run(root, results, "--seeds", "1").stderr
    assert f"{note} is damaged (its content differs from its digest)" in heard
    assert "quarantine" in heard
    assert note.read_bytes() == whole


# missing


def test_a_missing_data_root_is_named_with_the_ways_to_give_one(results: Path) -> None:
    message = refused(
        "run", "--pair", "taskonomy:nyud", "--preset", "smoke", "--results", str(results)
    )
    for name in ("taskonomy", "nyud"):
        assert (
            f"{name} needs its files: give the folder that contains {name}/ with --data-root or "
            "in the environment variable" in message
        )
    assert "TTT_BENCH_DATA" in message
    assert not results.exists()


def test_the_data_root_may_come_from_the_environment(root: Path, results: Path) -> None:
    command = (
        "run",
        "--pair",
        "taskonomy:nyud",
        "--preset",
        "smoke",
        "--methods",
        "base",
        "--plan",
        "--json",
    )
    planned = call(*command, "--results", str(results), TTT_BENCH_DATA=str(root))
    assert [record["pair"] for record in json.loads(planned.stdout)] == ["taskonomy:nyud"]


def test_every_missing_folder_is_named_with_where_it_was_looked_for(
    root: Path, results: Path
) -> None:
    for name in ("nyud", "pascal"):
        shutil.rmtree(root / name)
    message = refused("run", *arguments(root, results, "--pair", "pascal:taskonomy"))
    assert f"nyud: the folder {root / 'nyud'} does not exist" in message
    assert f"pascal: the folder {root / 'pascal'} does not exist" in message
    assert "taskonomy: the folder" not in message


def test_problems_inside_the_folders_are_reported_for_every_data_set_at_once(
    root: Path, results: Path
) -> None:
    (root / "nyud" / "gt_sets" / "val.txt").unlink()
    nyud_files.file_of(root / "nyud", "0003", "depth").unlink()
    shutil.rmtree(root / "taskonomy" / "rgb")
    shutil.rmtree(root / "pascal" / "ImageSets")
    message = refused("run", *arguments(root, results, "--pair", "pascal:nyud"))
    assert "val.txt: no such file" in message
    assert "Taskonomy: not one of " in message
    assert "PASCAL-Context: " in message
    assert message.count("val.txt: no such file") == 1, (
        "once, though two pairs have it as their target"
    )


def test_all_problems_of_a_request_are_reported_at_once(root: Path, results: Path) -> None:
    shutil.rmtree(root / "nyud")
    message = refused(
        *("run", *arguments(root, results, "--pair", "rooms:pasacl", "--methods", "base,tnet")),
        *(
            "--stream",
            "continual:fgo@s3",
            "--label-space",
            "seats",
            "--set",
            "modle.backbone=resnet18",
        ),
    )
    for part in (
        "unknown method 'tnet'; did you mean tent",
        "unknown pair 'rooms:pasacl'; did you mean rooms:pascal",
        "unknown shift 'fgo'; did you mean fog?",
        "unknown label space 'seats'",
        f"nyud: the folder {root / 'nyud'}",
        "unknown setting 'modle'; did you mean model",
    ):
        assert part in message
    assert len(message.splitlines()) == 6
    assert not results.exists()


def test_missing_tasks_of_a_pair_are_left_out_with_the_reason(root: Path, results: Path) -> None:
    shutil.rmtree(root / "nyud" / "depth")
    display = Notices()
    given = {"pair": "taskonomy:nyud", "methods": "base", "data_root": root}
    (cell,) = plan(results, **given, progress=display).cells
    assert cell.opened.tasks == ("semseg", "normals", "edge")
    assert any(
        "depth is left out, nyud has no labels for it" in notice for notice in display.notices
    )
    shutil.rmtree(root / "taskonomy" / "depth_zbuffer")
    plan(results, **given, progress=display)
    both = "depth is left out, taskonomy and nyud have no labels for it"
    assert any(both in notice for notice in display.notices)


def test_a_damaged_file_stops_a_run_before_any_training(root: Path, results: Path) -> None:
    taskonomy_files.cut(
        taskonomy_files.file_of(root / "taskonomy", "hanson", "point_0_view_1", "depth_zbuffer")
    )
    done = call("run", *arguments(root, results))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "hanson/point_0_view_1_domain_depth_zbuffer.png" in done.stderr
    assert "training base" not in done.stderr
