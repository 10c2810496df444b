"""What counts as code of a plugin: its distribution or package, its bases, and loose helpers."""

from __future__ import annotations

import importlib
import linecache
import os
import py_compile
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.site import Site, site_on_path

from ttt_bench.errors import BenchError
from ttt_bench.util.code.digest import LARGEST_PARSED
from ttt_bench.util.code.files import WRITTEN, code_files
from ttt_bench.util.hashing import code_hash


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_on_path(tmp_path / "site") as site:
        yield site


PACKAGE = {
    "kp/__init__.py": "",
    "kp/method.py": "from kp import helper\nclass Method: ...\n",
    "kp/helper.py": "VALUE = 1\n",
    "kp/deep/__init__.py": "",
    "kp/deep/more/part.py": "VALUE = 1\n",
    "kp/settings.yaml": "a: 1\n",
    "kp/README.md": "text\n",
    "kp/__pycache__/old.py": "VALUE = 1\n",
    "kp/.hidden/part.py": "VALUE = 1\n",
    "other.py": "VALUE = 1\n",
}
COUNTED = ["kp/helper.py", "kp/deep/__init__.py", "kp/deep/more/part.py", "kp/settings.yaml"]
IGNORED = ["kp/README.md", "kp/__pycache__/old.py", "kp/.hidden/part.py", "other.py"]


def test_all_modules_of_a_package_on_disk_count(site: Site) -> None:
    site.write(PACKAGE)
    method = site.load("kp.method:Method")
    assert [name for name in COUNTED if not site.changes(method, name)] == []
    assert [name for name in IGNORED if site.changes(method, name)] == []
    assert not site.changes(method, "kp/helper.py", '"""Text."""\nVALUE = 1  # one\n')
    (site.folder / "kp/new.py").write_text("")
    assert "kp/new.py" in code_files(["kp.method"])


@pytest.mark.parametrize("folder", sorted(WRITTEN))
def test_data_that_runs_write_into_a_package_do_not_count(site: Site, folder: str) -> None:
    files = {f"kp/{folder}/{name}": "1" for name in ("a.json", "a.npz", "part.py")}
    site.write(PACKAGE | files)
    site.load("kp.method:Method")
    assert sorted(set(files) & set(code_files(["kp.method"]))) == [f"kp/{folder}/part.py"]


def test_a_results_folder_of_any_name_does_not_count(site: Site) -> None:
    written = ("cells/pair/tent-1/manifest.json", "checkpoints/data.json")
    site.write(PACKAGE)
    site.load("kp.method:Method")
    before = code_files(["kp.method"])
    site.write({f"kp/try/{name}": "1" for name in written})
    assert code_files(["kp.method"]) == before


def test_all_files_of_an_installed_distribution_count_and_no_others(site: Site) -> None:
    site.install("plug", PACKAGE | {"second.py": "VALUE = 1\n"})
    site.install("neighbour", {"third.py": "VALUE = 1\n"})
    site.write({"kp/unlisted.py": "VALUE = 1\n"})
    method = site.load("kp.method:Method")
    assert [name for name in (*COUNTED, "second.py") if not site.changes(method, name)] == []
    assert not site.changes(method, "third.py")
    (site.folder / "kp/helper.py").unlink()
    assert set(code_files(["kp.method"])) == {"other.py", "second.py", *COUNTED[1:]} | {
        "kp/__init__.py",
        "kp/method.py",
    }


def test_a_distribution_of_one_module_is_that_module(site: Site) -> None:
    site.install("plug", {"single.py": "import neighbour\nclass Method: ...\n"})
    site.install("neighbour", {"neighbour.py": "VALUE = 1\n"})
    site.write({"loose/__init__.py": ""})
    site.load("single:Method")
    assert list(code_files(["single"])) == ["single.py"]


def test_helpers_next_to_a_loose_module_count_if_they_are_imported(site: Site) -> None:
    site.write(
        {
            "single.py": "import first, numpy, os\nclass Method: ...\n",
            "first.py": "def f():\n    import absent\n    from second.inner import g\n",
            "second/__init__.py": "",
            "second/inner.py": "VALUE = 1\n",
            "second/data.json": "1",
            "third.py": "VALUE = 1\n",
        }
    )
    method = site.load("single:Method")
    names = ["first.py", "second/__init__.py", "second/data.json", "second/inner.py", "single.py"]
    assert sorted(code_files(["single"])) == names
    assert site.changes(method, "second/inner.py")


def test_loose_helpers_of_an_installed_package_count(site: Site, tmp_path: Path) -> None:
    site.install("plug", {"single.py": "import editable_helper\nclass Method: ...\n"})
    site.write({"editable_helper.py": "VALUE = 1\n"})
    assert site.changes(site.load("single:Method"), "editable_helper.py")


def test_the_packages_of_all_bases_count(site: Site) -> None:
    site.install("parent", {"kb/__init__.py": "", "kb/base.py": "class Base: ...\n", "kb/x.py": ""})
    site.install("plug", {"single.py": "import kb.base as b\nclass Method(b.Base): ...\n"})
    method = site.load("single:Method")
    assert site.changes(method, "kb/base.py")
    assert site.changes(method, "kb/x.py")


def test_a_base_among_the_own_methods_counts_with_its_private_modules(site: Site) -> None:
    text = "from ttt_bench.methods.s4t import S4T\nclass Mine(S4T): ...\n"
    site.install("plug", {"single.py": text})
    site.load("single:Mine")
    own = ["s4t.py", "_s4t_network.py", "_s4t_options.py"]
    wanted = {"single.py", *(f"ttt_bench/methods/{name}" for name in own)}
    assert set(code_files(["single"])) == wanted


@pytest.mark.parametrize("listed", [True, False])
def test_a_namespace_shared_by_packages_counts_in_part(site: Site, listed: bool) -> None:
    own = {
        "kn/mine/method.py": "from . import helper\nclass Method: ...\n",
        "kn/mine/helper.py": "import kn.shared\n",
    }
    others = {"kn/shared.py": "VALUE = 1\n", "kn/theirs/part.py": "VALUE = 1\n"}
    if listed:
        site.install("plug", own)
        site.install("others", others)
    else:
        site.write(own | others)
    method = site.load("kn.mine.method:Method")
    assert site.changes(method, "kn/mine/helper.py", "VALUE = 2\n")
    assert site.changes(method, "kn/shared.py") is not listed
    assert not site.changes(method, "kn/theirs/part.py")


def test_a_package_in_an_archive_counts_with_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(value: int) -> None:
        with zipfile.ZipFile(egg, "w") as archive:
            archive.writestr("zipped/__init__.py", "")
            archive.writestr("zipped/method.py", "class Method: ...\n")
            archive.writestr("zipped/helper.py", f"VALUE = {value}\n")

    egg = tmp_path / "zipped.egg"
    pack(1)
    monkeypatch.syspath_prepend(egg)
    importlib.invalidate_caches()
    method = importlib.import_module("zipped.method").Method
    assert list(code_files(["zipped.method"])) == ["zipped.egg"]
    before = code_hash(method)
    pack(2)
    assert code_hash(method) != before
    for name in ("zipped", "zipped.method"):
        del sys.modules[name]


def test_compiled_modules_count_by_their_bytes(site: Site) -> None:
    site.write({"kc/__init__.py": "", "kc/source.py": "class Method: ...\n", "kc/fast.so": "one"})
    py_compile.compile(
        str(site.folder / "kc/source.py"), str(site.folder / "kc/method.pyc"), doraise=True
    )
    method = site.load("kc.method:Method")
    assert {"kc/method.pyc", "kc/fast.so"} <= set(code_files(["kc.method"]))
    assert site.changes(method, "kc/fast.so")
    assert site.changes(method, "kc/method.pyc")


@pytest.mark.parametrize(
    "text", ["class {{ name }}: ...\n", "print 1\n", "x = 1\n" * (LARGEST_PARSED // 6 + 1)]
)
def test_files_that_are_no_code_count_by_their_bytes(site: Site, text: str) -> None:
    site.write(PACKAGE | {"kp/template.py": text})
    method = site.load("kp.method:Method")
    assert site.changes(method, "kp/template.py", f"{text}# more\n")


def test_folders_that_link_to_each_other_end(site: Site) -> None:
    site.write(PACKAGE)
    (site.folder / "kp/deep/loop").symlink_to(site.folder / "kp", target_is_directory=True)
    outside = site.folder / "elsewhere"
    site.write({"elsewhere/part.py": "VALUE = 1\n"})
    (site.folder / "kp/linked").symlink_to(outside, target_is_directory=True)
    site.load("kp.method:Method")
    assert "kp/linked/part.py" in code_files(["kp.method"])


def test_functions_and_modules_count_like_classes(site: Site) -> None:
    site.write(
        PACKAGE | {"kp/build.py": "def build(): ...\nclass Reader:\n    def open(self): ...\n"}
    )
    build = site.load("kp.build:build")
    reader = site.load("kp.build:Reader")
    subjects = (build, partial(build), "kp.build", reader, reader().open)
    assert len({code_hash(subject) for subject in subjects}) == 1
    assert site.changes(build, "kp/helper.py")


CELL = "class Typed:\n    rate = {rate}\n    def step(self): ...\n"


def typed(text: str, name: str) -> type:
    """Return the class of a notebook cell, whose text IPython keeps for tracebacks."""
    space: dict[str, Any] = {"__name__": "a_notebook"}
    exec(compile(text, name, "exec"), space)
    return space["Typed"]


def test_a_class_typed_in_a_notebook_counts_with_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []
    for rate, comment in ((1, ""), (1, "# a comment\n"), (2, "")):
        name, text = f"<cell {rate}{comment}>", CELL.format(rate=rate) + comment
        lines = text.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, name, (len(text), None, lines, name))
        hashes.append(code_hash(typed(text, name)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_class_without_text_is_refused_with_the_remedy() -> None:
    with pytest.raises(BenchError, match=r"a_notebook\.Typed cannot be read.*write it to a file"):
        code_hash(typed(CELL.format(rate=1), "<nowhere>"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(site: Site) -> None:
    site.write(PACKAGE)
    method = site.load("kp.method:Method")
    (site.folder / "kp/helper.py").chmod(0)
    with pytest.raises(BenchError, match=r"helper\.py cannot be read \(Permission denied\)"):
        code_hash(method)
