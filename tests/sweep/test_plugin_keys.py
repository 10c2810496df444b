"""An edit of a plugin's code gives new keys to everything that was computed with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.runs import plan
from support.site import Site, site_on_path
from timm.models import register_model

from ttt_bench.results import store
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.variant import comparison_key
from ttt_bench.util.hashing import harness_hash

METHOD = {
    "ks_base/__init__.py": "",
    "ks_base/base.py": """
from support.toy import Toy
from ttt_bench.adapter import SourcePass
class Base(Toy):
    name = "mine"
    def source_pass(self): return SourcePass(images=4, batch=2)
    def source_statistics(self, net, images, ctx): return {}
""",
    "ks_base/other.py": "VALUE = 1\n",
}
MINE = {
    "ks_mine/__init__.py": "",
    "ks_mine/method.py": """
from ks_base.base import Base
from ks_mine.helper import VALUE
from ttt_bench.adapter import Phase
class Mine(Base):
    def phases(self): return (Phase(name="joint", trains=("model",)),)
""",
    "ks_mine/helper.py": "VALUE = 1\n",
    "ks_mine/deep/__init__.py": "",
    "ks_mine/deep/part.py": "VALUE = 1\n",
}
DATA = {
    "ks_data/__init__.py": "",
    "ks_data/domain.py": """
from ttt_bench.data.domains import Domain
DOMAIN = Domain(
    name="toydata", description="toy", tasks=("depth", "normals", "edge"),
    folder="toydata", opener="ks_data.read:open",
)
""",
    "ks_data/read.py": """
from support.toy import ToyDataset
from ks_data.helper import VALUE
def open(folder, split, size, progress, **choices):
    return ToyDataset(size=size)
""",
    "ks_data/helper.py": "VALUE = 1\n",
}
BACKBONE = {
    "ks_net/__init__.py": "",
    "ks_net/net.py": """
from timm.models.resnet import ResNet, BasicBlock
from ks_net.helper import VALUE
def ks_net(pretrained=False, **kwargs):
    import timm
    return timm.create_model("test_resnet", **kwargs)
""",
    "ks_net/helper.py": "VALUE = 1\n",
}
PAIRS = ("rooms:rooms-mix", "toydata:rooms", "rooms:toydata")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Install two packages with a method, one with a data set, one with a backbone."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "data" / "toydata").mkdir(parents=True)
    with site_on_path(folder / "site") as found:
        found.install("ks-base", METHOD)
        entry = "[ttt_bench.methods]\nmine = ks_mine.method:Mine\n"
        found.install("ks-mine", MINE, entry)
        entry = "[ttt_bench.datasets]\ntoydata = ks_data.domain:DOMAIN\n"
        found.install("ks-data", DATA, entry)
        found.install("ks-net", BACKBONE)
        register_model(found.load("ks_net.net:ks_net"))
        yield found


def keys(site: Site, tmp_path: Path, **given: Any) -> dict[str, str]:
    """Return the keys of cells, of source models, statistics and comparisons, by name."""
    given = {"methods": "base,mine", "data_root": site.folder.parent / "data", **given}
    found = {}
    for cell in plan(tmp_path, **given).cells:
        found |= {f"{cell.opened.pair.name} {cell.method} {k}": value for k, value in _keys(cell)}
    return found


def _keys(cell: Cell) -> Iterator[tuple[str, str]]:
    yield "cell", cell.hash
    yield "model", cell.chain[-1].key
    yield "first stage", cell.chain[0].key
    yield "comparison", comparison_key(cell.opened, cell.weights)
    if cell.method == "mine":
        yield "statistics", json.dumps(cell.config["statistics"])


def changed_by(site: Site, tmp_path: Path, *files: str, **given: Any) -> list[set[str]]:
    """Return the names of the keys that change with each file."""
    before = keys(site, tmp_path, **given)
    found = []
    for file in files:
        path = site.folder / file
        text = path.read_text()
        path.write_text(text + "\nCHANGED = 1\n")
        after = keys(site, tmp_path, **given)
        path.write_text(text)
        found.append({name for name in before if before[name] != after[name]})
    return found


def test_code_of_a_method_counts_in_its_cells_models_and_statistics(
    site: Site, tmp_path: Path
) -> None:
    wanted = {f"{PAIRS[0]} mine {key}" for key in ("cell", "model", "statistics")}
    files = ("ks_mine/helper.py", "ks_mine/deep/part.py", "ks_base/other.py")
    assert changed_by(site, tmp_path, *files, pair=PAIRS[0]) == [wanted] * len(files)


def test_code_of_a_data_set_counts_wherever_it_is_used(site: Site, tmp_path: Path) -> None:
    (found,) = changed_by(site, tmp_path, "ks_data/helper.py", methods="base", pair=PAIRS)
    source = {f"{PAIRS[1]} base {key}" for key in ("cell", "model", "first stage", "comparison")}
    target = {f"{PAIRS[2]} base {key}" for key in ("cell", "comparison")}
    assert found == source | target


def test_code_of_a_backbone_counts_in_every_key(site: Site, tmp_path: Path) -> None:
    own = {"pair": PAIRS[0], "set": {"model.backbone": "ks_net"}}
    (found,) = changed_by(site, tmp_path, "ks_net/helper.py", **own)
    assert {name.split()[-1] for name in found} >= {"cell", "model", "comparison", "statistics"}
    assert {name.split()[1] for name in found} == {"base", "mine"}


def test_a_row_of_old_code_is_computed_again_and_its_packages_are_named(
    site: Site, tmp_path: Path
) -> None:
    arguments = ["run", "--preset", "smoke", "--methods", "base,mine", "--steps", "1"]
    arguments += ["--no-check", "--set", "model.backbone=ks_net", "--results", str(tmp_path)]
    assert "2 done, 0 already finished" in cells_line(arguments)
    (site.folder / "ks_mine" / "helper.py").write_text("VALUE = 2\n")
    assert "1 done, 1 already finished" in cells_line(arguments)
    (*_, manifest) = [one for _, one in store.cells(tmp_path) if one["method"] == "mine"]
    plugins, config = manifest["provenance"]["plugins"], manifest["configuration"]
    assert {role: plugin["package"] for role, plugin in plugins.items()} == {
        "method": "ks-mine",
        "source": "ttt-bench",
        "target": "ttt-bench",
        "network": "ttt-bench",
        "backbone": "ks-net",
    }
    assert plugins["method"]["version"] == plugins["backbone"]["version"] == "1.0"
    assert plugins["method"]["code"] == config["code"]
    assert plugins["backbone"]["code"] == config["model"]["backbone_code"]
    assert plugins["target"]["code"] == harness_hash()


def cells_line(arguments: list[str]) -> str:
    """Run a command; return its line about cells."""
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in (done.stdout + done.stderr).splitlines() if "cells: " in line)
    return line
