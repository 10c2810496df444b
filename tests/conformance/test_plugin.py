"""Methods of other packages: one that is installed by pip, checked and run, and broken ones."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.command import call, refused
from support.examples import importable, pip_install
from support.paths import DOCS, TESTS

from ttt_bench import read_results
from ttt_bench.conformance import BACKBONE, assert_conforms, run_check
from ttt_bench.conformance.subject import Subject
from ttt_bench.results import store

EXAMPLE = TESTS / "plugin_example"
PAGE = DOCS / "adding-a-method.md"
RUN = ("run", "--preset", "smoke", "--device", "cpu")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed the example."""
    folder = tmp_path_factory.mktemp("site")
    pip_install(EXAMPLE, folder)
    return folder


@pytest.fixture
def installed(site: Path) -> Iterator[Path]:
    """Make the installed example importable during a test."""
    with importable(site, "smooth_depth") as folder:
        yield folder


def test_installing_it_suffices(installed: Path, tmp_path: Path) -> None:
    listed = {
        record["method"]: record for record in json.loads(call("methods", "list", "--json").stdout)
    }
    assert listed["smooth"]["package"] == "smooth-depth"
    planned = json.loads(
        call(*RUN, "--methods", "everything", "--plan", "--json", "--results", str(tmp_path)).stdout
    )
    assert "smooth" in {record["method"] for record in planned}
    assert "chosen on the tune split" in call("methods", "show", "smooth", COLUMNS="160").stdout


def test_it_conforms_and_runs(installed: Path, tmp_path: Path) -> None:
    done = call("methods", "check", "smooth", "--json")
    assert done.returncode == 0, done.stdout
    assert len(json.loads(done.stdout)) > 10
    run = call(
        *RUN, "--methods", "base,smooth", "--set", "smooth.weight=0.5", "--results", str(tmp_path)
    )
    assert run.returncode == 0, run.stderr
    assert set(read_results(tmp_path).method) == {"base", "smooth"}
    assert "checking plugins of other packages: 1/1" in run.stderr
    contracts = {m["method"]: m["contract"] for _, m in store.cells(tmp_path)}
    assert contracts["base"] is None
    assert contracts["smooth"]["state"] == "passed"
    assert contracts["smooth"]["package"] == "smooth-depth"


def test_without_it_the_method_is_unknown() -> None:
    assert "unknown method 'smooth'" in refused("run", "--methods", "smooth")


def test_the_page_shows_the_example() -> None:
    blocks = re.findall(
        r"```(?:python|toml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert (EXAMPLE / "smooth_depth.py").read_text(encoding="utf-8") in blocks
    assert (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8") in blocks


def test_the_second_example_is_on_the_page_and_conforms(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (EXAMPLE / "reliable.py").read_text(encoding="utf-8")
    assert source in PAGE.read_text(encoding="utf-8")
    with importable(EXAMPLE, "reliable"):
        method = importlib.import_module("reliable").Reliable
        assert_conforms(method)
        monkeypatch.setattr(method, "check_options", {})
        subject = Subject.create(method, {}, BACKBONE, torch.device("cpu"))
        assert "in its class attribute `check_options`" in run_check("moves", subject).problem


BROKEN = {
    "no_import": (
        "import nothing_of_that_name\n",
        "does not import: ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ),
    "no_adapter": ("class Method: ...\n", "must be a subclass of ttt_bench.adapter.Adapter"),
    "unfinished": (
        "from ttt_bench.adapter import Adapter\nclass Method(Adapter):\n    name = 'broken'\n",
        "does not define bind, step; has no `card`",
    ),
    "misnamed": (
        "from ttt_bench.methods.base import Base\nclass Method(Base):\n    name = 'other'\n",
        "has the name 'other'",
    ),
    "clashing": (
        "from ttt_bench.adapter import Options\nfrom ttt_bench.methods.base import Base\n"
        "class MyOptions(Options):\n    lr: float = 1\n"
        "class Method(Base):\n    name = 'broken'\n    Options = MyOptions\n",
        "names of optimiser settings (lr)",
    ),
}


@pytest.fixture(params=BROKEN)
def broken(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Make a package with a broken method importable; return what must be reported about it."""
    source, message = BROKEN[request.param]
    site = tmp_path / "site"
    info = site / "broken_method-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken_method.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ttt_bench.methods]\nbroken = broken_method:Method\n")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield message
    sys.modules.pop("broken_method", None)


def test_a_broken_one_is_refused_by_name_and_the_others_work(broken: str, tmp_path: Path) -> None:
    assert "broken" in call("methods", "list").stdout
    assert notices_of_plan("base,norm", tmp_path) == ""
    assert "broken_method" not in sys.modules, "only wanted methods are imported"
    assert broken in refused(*RUN, "--methods", "base,broken", "--results", str(tmp_path))


@pytest.mark.parametrize("broken", ["no_import"], indirect=True)
def test_everything_means_all_but_a_broken_one(broken: str, tmp_path: Path) -> None:
    notices = notices_of_plan("everything", tmp_path)
    assert broken in notices
    assert "package broken-method" in notices


def notices_of_plan(methods: str, results: Path) -> str:
    """Plan a run that includes base and norm; return what it writes to standard error."""
    done = call(*RUN, "--methods", methods, "--plan", "--json", "--results", str(results))
    assert done.returncode == 0, done.stderr
    assert {"base", "norm"} <= {record["method"] for record in json.loads(done.stdout)}
    *notices, summary = done.stderr.splitlines()
    assert " to compute" in summary
    return "\n".join(notices)


def test_a_broken_one_fails_the_check_with_its_reason(broken: str) -> None:
    done = call("methods", "check", "broken", "--json")
    assert done.returncode == 2
    (row,) = json.loads(done.stdout)
    assert (row["method"], row["passed"]) == ("broken", False)
    assert broken in row["problem"]


@pytest.mark.parametrize("broken", ["no_import"], indirect=True)
def test_others_are_checked_next_to_a_broken_one(broken: str) -> None:
    done = call("methods", "check", "broken", "base", "--json")
    assert done.returncode == 2
    rows = json.loads(done.stdout)
    assert {row["method"] for row in rows if not row["passed"]} == {"broken"}
    assert len([row for row in rows if row["method"] == "base"]) > 10
