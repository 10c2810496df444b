"""Plugins are found without importing them, and the invalid ones are named."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.runs import plan
from support.toy import Toy

from ttt_bench.data.registry import DATASETS
from ttt_bench.errors import BenchError, ProcessError
from ttt_bench.registry import METHODS, members
from ttt_bench.util.code.files import code_files
from ttt_bench.util.hashing import code_hash, hash_of, hash_source

Plugins = Callable[[str, str, str], None]
OWN = (*members("all"), *members("more"))
GOOD = "from support.toy import Toy\nclass Method(Toy):\n    name = 'mine'\n"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Plugins]:
    """Install packages, one per call, while a test runs."""
    monkeypatch.syspath_prepend(tmp_path)
    modules: list[str] = []

    def add(name: str, module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ttt_bench.methods]\n{name} = {module}:Method\n")
        importlib.invalidate_caches()
        modules.append(module)

    yield add
    for module in modules:
        sys.modules.pop(module, None)


def test_a_new_entry_point_is_enough(plugins: Plugins) -> None:
    plugins("mine", "a_plugin", GOOD)
    assert METHODS.names() == (*OWN, "mine"), "the papers' rows come first"
    assert METHODS.load("mine").name == "mine"
    entry = METHODS.entry("mine")
    assert (entry.origin, entry.location) == ("a_plugin 1.0", "a_plugin:Method")


PATCHING = "import torch\ntorch.nn.BatchNorm2d.forward = lambda layer, x: x\n" + GOOD


def test_a_plugin_that_changes_the_process_is_refused_each_time(plugins: Plugins) -> None:
    before = torch.nn.BatchNorm2d.__dict__.get("forward")
    plugins("mine", "patching_plugin", PATCHING)
    for _ in range(2):
        with pytest.raises(
            ProcessError,
            match=r"'mine' of package patching_plugin .* torch\.nn\.BatchNorm2d\.forward",
        ):
            METHODS.load("mine")
        assert torch.nn.BatchNorm2d.__dict__.get("forward") is before


def test_a_plugin_that_is_not_asked_for_is_not_imported(plugins: Plugins, tmp_path: Path) -> None:
    plugins("mine", "unasked_plugin", PATCHING)
    plan(tmp_path, methods=("base",))
    assert "unasked_plugin" not in sys.modules


def test_a_listing_imports_no_plugin(plugins: Plugins) -> None:
    plugins("mine", "broken_plugin", "raise RuntimeError('imported')")
    assert "mine" in METHODS.names()
    with pytest.raises(
        BenchError,
        match=r"'mine' of package broken_plugin \(broken_plugin:Method\) does not import: "
        "RuntimeError: imported",
    ):
        METHODS.load("mine")


def test_a_wrong_declaration_is_named_with_its_line(plugins: Plugins) -> None:
    own = "from ttt_bench.adapter import Optimiser\nOPTIMISER = Optimiser(optimizer='adamw')\n"
    plugins("mine", "wrong_plugin", own + GOOD)
    with pytest.raises(BenchError) as found:
        METHODS.load("mine")
    assert re.search(
        r"does not import: Optimiser\.optimizer: unknown setting 'optimizer'; did you mean "
        r"optimiser\? .* \(wrong_plugin\.py:2 in <module>\); repair or uninstall",
        str(found.value),
    )


def test_an_invalid_method_is_refused(plugins: Plugins) -> None:
    plugins("mine", "odd_plugin", "class Method: pass")
    with pytest.raises(BenchError, match="must be a subclass"):
        METHODS.load("mine")
    plugins("other", "misnamed_plugin", GOOD)
    with pytest.raises(BenchError, match=r"'other' .*has the name 'mine'"):
        METHODS.load("other")


@pytest.mark.parametrize(
    "name", ["my method/1", "../escaped", "a,b", "Mine", "x" * 65, "all", "batch", "data"]
)
def test_a_name_that_cannot_be_asked_for_is_refused(plugins: Plugins, name: str) -> None:
    plugins(name, "named_plugin", GOOD)
    with pytest.raises(BenchError, match="rename its entry point"):
        METHODS.load(name)


def test_a_name_registered_in_this_process_is_checked_too() -> None:
    with METHODS.extended({"../x": Toy}), pytest.raises(BenchError, match="rename"):
        METHODS.load("../x")
    domain = DATASETS.load("nyud")
    with DATASETS.extended({"source": domain}), pytest.raises(BenchError, match="reserved name"):
        DATASETS.load("source")


def test_a_clash_names_both_sides_and_leaves_the_others(plugins: Plugins) -> None:
    plugins("tent", "rival_plugin", GOOD)
    assert METHODS.names() == OWN
    assert [entry.package for entry in METHODS.entries() if entry.name == "tent"] == [
        "rival_plugin",
        "ttt-bench",
    ]
    with pytest.raises(
        BenchError, match=r"2 methods are called 'tent': .*rival_plugin:Method.*tent:Tent"
    ):
        METHODS.load("tent")
    assert METHODS.load("norm").name == "norm"


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(BenchError, match="unknown method 'tnet'; did you mean tent"):
        METHODS.load("tnet")
    with pytest.raises(BenchError, match="unknown data set 'room'; did you mean rooms"):
        DATASETS.entry("room")


def test_a_registry_can_be_extended_for_a_while() -> None:
    with METHODS.extended({"toy": Toy}):
        assert METHODS.names()[-1] == "toy"
        assert METHODS.load("toy") is Toy
        with METHODS.extended({"tent": Toy}), pytest.raises(BenchError, match="in this process"):
            METHODS.load("tent")
    assert METHODS.names() == OWN


def test_code_is_hashed_without_comments_and_docstrings() -> None:
    plain = "def f(x):\n    return x + 1\n"
    long = '"""Module."""\n\ndef f(x):  # a comment\n    """Text."""\n    return (x +\n        1)\n'
    assert hash_source(plain) == hash_source(long)
    assert hash_source(plain) != hash_source(plain.replace("1", "2"))
    assert hash_of({"a": 1, "b": [2]}) == hash_of({"b": [2], "a": 1})


def test_the_code_of_a_private_module_next_to_a_method_counts(
    plugins: Plugins, tmp_path: Path
) -> None:
    plugins("mine", "split_plugin", f"from _split_part import VALUE\nimport support\n{GOOD}")
    part, other = tmp_path / "_split_part.py", tmp_path / "_no_part.py"
    hashes = []
    for text in ("VALUE = 1\n", "VALUE = 1  # a comment\n", "VALUE = 2\n"):
        part.write_text(text)
        other.write_text(text)
        hashes.append(code_hash(METHODS.load("mine")))
    assert hashes[0] == hashes[1] != hashes[2]
    # the package of the base class
    assert "support/toy.py" in code_files(["split_plugin"])
