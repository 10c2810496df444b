"""Runs whose target comes in another order or under several shifts: batches and records.

The smoke preset's target has nine images in batches of four; the last one joins the batch before
it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.command import call, refused
from support.runs import run

import ttt_bench
from ttt_bench.results import store

SHIFTS = ("jpeg@s5", "gaussian_noise@0.3", "contrast@0.3")
IMAGES = 9
STREAMS = {
    "fixed": "fixed",
    "shuffled": "shuffled",
    "continual": f"continual:{','.join(SHIFTS)}",
    "mixed": f"mixed:{','.join(SHIFTS)}",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> dict[str, Path]:
    """Run Base and TENT under every stream, and Base on the target under each shift."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        for name, stream in STREAMS.items():
            made[name] = tmp_path_factory.mktemp(name)
            run(made[name], methods="base,tent", stream=stream)
        for shift in SHIFTS:
            made[shift] = tmp_path_factory.mktemp("shift")
            run(made[shift], methods="base", pair=f"rooms:rooms-mix+{shift}")
    return made


def cell(results: Path, method: str = "base") -> tuple[Path, dict[str, Any]]:
    """Return a method's folder and manifest."""
    return next(found for found in store.cells(results) if found[1]["method"] == method)


def statistics(results: Path, method: str = "base") -> pd.DataFrame:
    """Return a method's sums before adaptation, by (task, position in the stream)."""
    table = store.read_table(cell(results, method)[0], "statistics", step=0)
    return table.set_index(["task", "image"]).sort_index()


def batches(results: Path, method: str = "base") -> list[list[int]]:
    """Return the positions in every batch."""
    table = statistics(results, method).loc["semseg"].reset_index()
    return [sorted(group.image) for _, group in table.groupby("batch")]


def same(first: Any, second: Any) -> bool:
    """Return whether an image's sums are equal up to rounding, which depends on its batch."""
    return bool(np.allclose(first, second, rtol=1e-3, atol=1.0))


@pytest.mark.parametrize("method", ["base", "tent"])
def test_every_stream_scores_every_image_once_or_once_a_segment(
    results: dict[str, Path], method: str
) -> None:
    whole = [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    for stream in ("fixed", "shuffled", "mixed"):
        assert batches(results[stream], method) == whole
    shifted = [[first + position for position in batch] for first in (0, 9, 18) for batch in whole]
    assert batches(results["continual"], method) == shifted, "no batch holds images of two segments"
    for stream, images in (("fixed", 9), ("shuffled", 9), ("mixed", 9), ("continual", 27)):
        rows = ttt_bench.read_results(results[stream])
        assert set(rows.n) == {images}
        assert np.isfinite(rows.value).all()


def test_segments_are_recorded_with_their_positions(results: dict[str, Path]) -> None:
    for stream in ("fixed", "shuffled"):
        assert cell(results[stream])[1]["segments"] == []
    assert cell(results["continual"])[1]["segments"] == [
        {"name": name, "positions": list(range(9 * number, 9 * number + 9))}
        for number, name in enumerate(SHIFTS)
    ]
    mixed = cell(results["mixed"])[1]["segments"]
    assert [segment["name"] for segment in mixed] == list(SHIFTS)
    assert sorted(position for segment in mixed for position in segment["positions"]) == list(
        range(IMAGES)
    )


def test_an_image_of_a_stream_is_that_of_the_target_under_its_shift(
    results: dict[str, Path],
) -> None:
    for stream in ("continual", "mixed"):
        found = statistics(results[stream])
        for segment in cell(results[stream])[1]["segments"]:
            alone = statistics(results[segment["name"]])
            for position in segment["positions"]:
                for task in ("semseg", "depth", "normals", "edge"):
                    one, other = (
                        found.loc[(task, position), "values"],
                        alone.loc[(task, position % IMAGES), "values"],
                    )
                    assert same(one, other), (stream, segment["name"], position, task)
    plain = statistics(results["fixed"])
    moved = [
        not same(plain.loc[("depth", p), "values"], found.loc[("depth", p), "values"])
        for p in range(IMAGES)
    ]
    assert any(moved), "the shifts change the predictions"


def test_shuffled_images_are_the_same_ones_in_another_order(results: dict[str, Path]) -> None:
    fixed, shuffled = (
        statistics(results[stream]).loc["normals"] for stream in ("fixed", "shuffled")
    )
    order = []
    for position in range(IMAGES):
        here = shuffled.loc[position, "values"]
        order.append([image for image in range(IMAGES) if same(here, fixed.loc[image, "values"])])
    assert sorted(image for found in order for image in found) == list(range(IMAGES))
    assert order != [[image] for image in range(IMAGES)]
    # sums over the set do not depend on the order, adaptation does
    rows = {
        stream: ttt_bench.read_results(results[stream]).set_index("method")
        for stream in ("fixed", "shuffled")
    }
    values = {
        (stream, method): table.loc[method].query("step == 3 and metric == 'merr'").value.item()
        for stream, table in rows.items()
        for method in ("base", "tent")
    }
    assert values["fixed", "base"] == pytest.approx(values["shuffled", "base"], rel=1e-5)
    assert values["fixed", "tent"] != values["shuffled", "tent"]


def test_a_stream_is_named_in_rows_notices_and_scoring(results: dict[str, Path]) -> None:
    assert set(ttt_bench.read_results(results["fixed"]).settings) == {""}
    assert "file order" in cell(results["fixed"])[1]["scoring"]["alignment"]
    marks = set()
    for stream in ("shuffled", "continual", "mixed"):
        rows = ttt_bench.read_results(results[stream])
        assert set(rows.settings) == {f"stream={STREAMS[stream]}"}
        _, manifest = cell(results[stream])
        assert f"the order of the stream {STREAMS[stream]}" in manifest["scoring"]["alignment"]
        assert any(
            notice.startswith("rooms-mix: the images come ") for notice in manifest["notices"]
        )
        marks.add(manifest["provenance"]["target_data"])
    assert len(marks) == 3


def test_a_stream_can_be_made_again(results: dict[str, Path], tmp_path: Path) -> None:
    for stream in ("shuffled", "mixed"):
        run(tmp_path / stream, methods="tent", stream=STREAMS[stream])
        first, _ = cell(results[stream], "tent")
        second, _ = cell(tmp_path / stream, "tent")
        for table in ("rows", "statistics", "losses"):
            pd.testing.assert_frame_equal(
                store.read_table(first, table), store.read_table(second, table)
            )


def test_a_stream_may_come_from_a_config_file_and_go_on_a_shifted_target(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'methods = "base"\npair = "rooms:rooms+brightness@0.1"\npreset = "smoke"\n'
        'stream = "mixed: jpeg@30.0, fog@s2"\n'
    )
    planned = json.loads(call("run", "--config", str(config), "--plan", "--json").stdout)
    assert [(p["pair"], p["settings"]) for p in planned] == [
        ("rooms:rooms+brightness@0.1", "stream=mixed:jpeg@30,fog@s2")
    ]
    results = tmp_path / "results"
    done = call("run", "--config", str(config), "--results", str(results), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    ((_, manifest),) = store.cells(results)
    assert [segment["name"] for segment in manifest["segments"]] == ["jpeg@30", "fog@s2"]
    assert any("brightness@0.1" in notice for notice in manifest["notices"])


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("shufled", "did you mean shuffled, fixed? (available: continual, fixed, mixed, shuffled)"),
        ("continual:fgo@s3,snow@s3", "unknown shift 'fgo'; did you mean fog?"),
        (
            "continual",
            "stream continual needs shifts, separated by commas (such as continual:fog@s3,snow@s3)",
        ),
        ("mixed:fog@0.5", "fog takes a severity, such as fog@s3 (s1, s2, s3, s4, s5)"),
        (
            "fixed:fog@s3",
            "fixed takes no shifts; give them with the target (DOMAIN+SHIFT@STRENGTH)",
        ),
    ],
)
def test_an_unknown_stream_is_refused_with_what_is_allowed(
    tmp_path: Path, stream: str, message: str
) -> None:
    output = refused(
        "run", "--preset", "smoke", "--stream", stream, "--results", str(tmp_path / "results")
    )
    assert message in output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("protocol", ["episodic", "single-batch", "online,episodic"])
def test_a_stream_needs_the_online_protocol(tmp_path: Path, protocol: str) -> None:
    arguments = (
        "--preset",
        "smoke",
        "--protocol",
        protocol,
        "--results",
        str(tmp_path / "results"),
    )
    assert f"--stream shuffled does not go with --protocol {protocol.split(',')[-1]}" in refused(
        "run", *arguments, "--stream", "shuffled"
    )
