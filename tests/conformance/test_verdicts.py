"""The checks that a run makes of methods of other packages, and what it keeps of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.notices import Notices
from support.runs import plan, request
from support.toy import Toy

from ttt_bench.api import compute
from ttt_bench.conformance import Result, verdicts
from ttt_bench.errors import BenchError
from ttt_bench.model.networks.hypercolumn import Hypercolumn
from ttt_bench.registry import METHODS, NETWORKS
from ttt_bench.results import store
from ttt_bench.results.contract import State, Verdict
from ttt_bench.sweep.contract import contract_record
from ttt_bench.sweep.plan import Sweep

Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, room_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache without verdicts, but with the rendered rooms."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (room_cache / "rooms").mkdir(exist_ok=True)
    (cache / "rooms").symlink_to(room_cache / "rooms")
    monkeypatch.setenv("TTT_BENCH_CACHE", str(cache))


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with METHODS.extended({"toy": Toy}):
        yield


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return the plan of a run of a method of ttt-bench and one of this process."""
    with METHODS.extended({"toy": Toy}):
        return plan(tmp_path_factory.mktemp("planned"), methods="base,toy", seeds=(0, 1))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace the checks by two of which one fails, and return the calls of them."""
    made: Calls = []

    def check(method: type, settings: Mapping[str, Any]) -> list[Result]:
        made.append((method.name, dict(settings)))  # type: ignore[attr-defined]
        return [Result("moves", ""), Result("labels", "labels are read")]

    monkeypatch.setattr(verdicts, "check_method", check)
    return made


def found(sweep: Sweep, progress: Notices | None = None, **given: Any) -> dict[str, Verdict]:
    """Return name -> verdict of a plan whose request is changed by `given`."""
    request = sweep.request.model_copy(update=given)
    changed = replace(sweep, resolved=replace(sweep.resolved, request=request))
    found = verdicts.contract_verdicts(changed, progress or Notices())
    return {plugin.name: verdict for plugin, verdict in found.items()}


def test_only_methods_of_other_packages_are_checked_once(calls: Calls, planned: Sweep) -> None:
    first, second = Notices(), Notices()
    verdict = found(planned, first)["toy"]
    assert calls == [("toy", {})]
    assert (verdict.state, verdict.failed) == (State.FAILED, {"labels": "labels are read"})
    assert verdict.kit
    assert found(planned, second) == {"toy": verdict}
    assert len(calls) == 1
    assert first.titles == ["checking plugins of other packages"]
    assert second.titles == []
    assert first.heard("toy breaks the contract", "failed: labels")
    assert second.heard("toy breaks the contract", "failed: labels")


def test_other_code_and_other_options_are_checked_again(
    calls: Calls, planned: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(planned)
    found(planned, set={"toy.norm_momentum": 0.5})
    found(planned, set={"toy.lr": 0.5, "batch": 3})
    assert [options for _, options in calls] == [{}, {"norm_momentum": 0.5}]
    for name in ("code_hash", "harness_hash"):
        monkeypatch.setattr(verdicts, name, lambda *of: "changed")
        found(planned)
        found(planned)
    assert len(calls) == 4


def test_a_damaged_verdict_is_made_again(calls: Calls, planned: Sweep, tmp_path: Path) -> None:
    found(planned)
    (kept,) = (tmp_path / "cache" / "contract").iterdir()
    for text in ("", "[]", "{}", '{"state": "good"}', '{"state": "passed", "other": 1}'):
        kept.write_text(text)
        assert found(planned)["toy"].state is State.FAILED
    assert len(calls) == 6


def test_a_cache_that_cannot_be_written_costs_only_time(
    calls: Calls, planned: Sweep, tmp_path: Path
) -> None:
    (tmp_path / "cache" / "contract").touch()
    progress = Notices()
    assert found(planned, progress)["toy"].state is State.FAILED
    assert progress.heard("The next run checks toy again")


def test_checks_that_cannot_start_count_as_failed(
    planned: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise BenchError("an option is wrong")

    monkeypatch.setattr(verdicts, "check_method", broken)
    assert found(planned)["toy"].failed == {"settings": "an option is wrong"}


def test_no_check_leaves_methods_unchecked_until_they_are(calls: Calls, planned: Sweep) -> None:
    assert found(planned, check=False) == {}
    found(planned)
    assert found(planned, check=False)["toy"].state is State.FAILED
    assert len(calls) == 1


def manifests(results: Path) -> dict[str, dict[str, Any]]:
    return {manifest["method"]: manifest for _, manifest in store.cells(results)}


def test_a_failing_method_runs_and_its_manifest_says_what_failed(
    calls: Calls, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert compute(plan(results, methods="base,toy"), Notices()).computed == {"done": 2}
    contract = manifests(results)["toy"]["contract"]
    assert contract["state"] == "failed"
    assert contract["failed"] == {"labels": "labels are read"}
    assert manifests(results)["base"]["contract"] is None


def test_the_command_skips_the_checks_and_marks_the_rows(tmp_path: Path) -> None:
    results = tmp_path / "results"
    arguments = ("run", "--methods", "base,toy", "--preset", "smoke", "--device", "cpu")
    done = call(*arguments, "--no-check", "--results", results)
    assert done.returncode == 0, done.stderr
    assert "toy ‡" in done.stdout
    assert "toy was not checked against the contract" in " ".join(done.stdout.split())
    assert manifests(results)["toy"]["contract"]["state"] == "unchecked"


def test_a_later_check_replaces_the_verdict_of_finished_cells(
    calls: Calls, planned: Sweep, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    sweep = plan(results, methods="toy", check=False)
    compute(sweep, Notices())
    (folder,) = (results / "cells").glob("*/toy-*")
    rows = (folder / "rows.parquet").read_bytes()
    assert manifests(results)["toy"]["contract"]["state"] == "unchecked"
    found(planned)
    assert compute(sweep, Notices()).kept == 1
    assert manifests(results)["toy"]["contract"]["state"] == "failed"
    assert (folder / "rows.parquet").read_bytes() == rows
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert compute(sweep, Notices()).kept == 1
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_a_config_file_can_skip_the_checks(tmp_path: Path) -> None:
    assert request(tmp_path).check
    config = tmp_path / "run.toml"
    config.write_text("check = false\n")
    done = call("run", "--config", config, "--plan", "--json", "--results", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


class Pyramid(Hypercolumn):
    name = "pyramid"


def test_a_network_of_another_package_is_checked_once_with_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Calls = []

    def check(kind: type, settings: Mapping[str, Any]) -> list[Result]:
        made.append((kind.name, dict(settings)))  # type: ignore[attr-defined]
        return [Result("heads", "the backbone runs again")]

    monkeypatch.setattr(verdicts, "check_network", check)
    given = {"model.architecture": "pyramid", "model.architecture_args": {}, "batch": 4}
    with NETWORKS.extended({"pyramid": Pyramid}):
        sweep = plan(tmp_path / "r", methods="base,norm", set=given)
        progress = Notices()
        assert found(sweep, progress)["pyramid"].failed == {"heads": "the backbone runs again"}
        assert progress.heard("pyramid breaks the contract of networks", "networks")
        (known,) = verdicts.contract_verdicts(sweep, Notices()).items()
        assert made == [("pyramid", {"model.architecture_args": {}})]
        for cell in sweep.cells:
            assert contract_record(cell, {})["network_contract"]["state"] == "unchecked"
            record = contract_record(cell, dict([known]))
            assert record == {"contract": None, "network_contract": known[1].record()}


def test_networks_of_ttt_bench_have_no_verdict(planned: Sweep) -> None:
    assert all("network_contract" not in contract_record(cell, {}) for cell in planned.cells)
