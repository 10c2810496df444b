"""A data set in another package: installed, listed, drawn, run; and some broken ones."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import call, refused
from support.examples import importable, pip_install
from support.paths import DOCS, TESTS

from ttt_bench import read_results
from ttt_bench.data.domains import BUILT_IN, RECIPES, shared_labels
from ttt_bench.data.open import open_domain
from ttt_bench.data.registry import DATASETS
from ttt_bench.data.variants import CORRECTED
from ttt_bench.errors import DataError
from ttt_bench.losses import RECIPES as LOSSES
from ttt_bench.metrics import colours
from ttt_bench.util.progress import Silent

EXAMPLE = TESTS / "dataset_example"
PAGE = DOCS / "adding-a-dataset.md"
RUN = ("run", "--preset", "smoke", "--device", "cpu", "--methods", "base,norm,tent")
HEIGHT, WIDTH = 24, 40
STOOL, TABLE, BED, SEAT, LAMP = 1, 2, 3, 4, 5
"""The example's class numbers, as in its `label_ids`; LAMP is not one of the classes."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed the example."""
    folder = tmp_path_factory.mktemp("site")
    pip_install(EXAMPLE, folder)
    return folder


@pytest.fixture
def installed(site: Path) -> Iterator[Path]:
    """Make the example importable during a test."""
    with importable(site, "my_rooms") as folder:
        yield folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a data root with eight images per split: classes in stripes, a row without depth."""
    draw = np.random.default_rng(0)
    for split in ("train", "val", "test", "tune"):
        for number in range(8):
            pictures = {
                "images": draw.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
                "classes": np.repeat([[STOOL, TABLE, BED, SEAT, LAMP]], HEIGHT, 0)
                .repeat(8, 1)
                .astype(np.uint8),
                "depth": np.full((HEIGHT, WIDTH), 1500 + number, np.uint16),
            }
            pictures["depth"][0] = 0
            for part, array in pictures.items():
                path = tmp_path / "data" / "myrooms" / split / part / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path / "data"


def test_installing_it_is_all_that_it_takes(installed: Path, root: Path) -> None:
    listed = {
        record["name"]: record for record in json.loads(call("data", "list", "--json").stdout)
    }
    assert listed["myrooms"] == {
        "name": "myrooms",
        "description": "my own rooms: photographs, classes drawn by hand, depth from a sensor",
        "tasks": "semseg, depth",
        "label_spaces": ["taskonomy_nyud_7"],
        "data": "missing myrooms/",
        "package": "my-rooms 0.1",
    }
    there = json.loads(call("data", "list", "--json", "--data-root", str(root)).stdout)
    assert there[-1]["data"] == "present"
    assert "my-rooms 0.1" in call("data", "list").stdout
    assert "myrooms" in call("pairs", "list").stdout


def test_images_and_targets_equal_the_files(installed: Path, root: Path, tmp_path: Path) -> None:
    domain = DATASETS.load("myrooms")
    space = shared_labels([domain, BUILT_IN["rooms"]], None, {})
    assert space is not None
    keep = {"data_root": root, "cache": tmp_path, "progress": Silent(), "variant": CORRECTED}
    data = open_domain(domain, "test", (32, 48), 0, space=space, **keep)
    batch = data.batch([3])
    inside = batch.targets["semseg"][0, 4:28, 4:44].numpy()
    named = {
        space.classes.index(name): columns
        for name, columns in (("chair", (0, 24)), ("table", (8,)), ("bed", (16,)))
    }
    for index, columns in named.items():
        for column in columns:
            assert (inside[:, column : column + 8] == index).all()
    assert (inside[:, 32:] == 255).all(), "a lamp is not one of the seven classes"
    depth = batch.targets["depth"][0, 0].numpy()
    assert depth[5, 10] == np.float32(1.503)
    assert (depth[4] == 255).all()
    assert (depth[:4] == 255).all(), "around the image there is nothing"
    picture = np.asarray(Image.open(root / "myrooms" / "test" / "images" / "3.png"))
    assert (
        np.rint(batch.images[0, :, 4:28, 4:44].numpy() * 255) == picture.transpose(2, 0, 1)
    ).all()
    without = open_domain(domain, "test", (32, 48), 0, space=None, **keep)
    assert without.tasks == ("depth",)
    assert without.fingerprint != data.fingerprint


def test_it_is_drawn(installed: Path, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    arguments = (
        "data",
        "show",
        "myrooms+jpeg@30",
        "--size",
        "32x48",
        "--count",
        "2",
        "--out",
        str(path),
    )
    done = call(*arguments, "--data-root", str(root))
    assert done.returncode == 0, done.stderr
    with Image.open(path) as sheet:
        assert sheet.width == int(110 * 2.2 * 3)
        seen = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24)}
    chair, table, bed = colours.CLASS_COLOURS[6], colours.CLASS_COLOURS[1], colours.CLASS_COLOURS[4]
    assert {chair, table, bed, colours.NO_TARGET} <= seen


@pytest.mark.parametrize("pair", ["rooms:myrooms", "myrooms:rooms", "myrooms:myrooms+fog@s1"])
def test_it_runs_as_source_and_as_target(
    installed: Path, root: Path, tmp_path: Path, pair: str
) -> None:
    folder = str(tmp_path / "results")
    run = call(*RUN, "--pair", pair, "--results", folder, "--data-root", str(root))
    assert run.returncode == 0, run.stderr
    rows = read_results(folder)
    assert set(rows.method) == {"base", "norm", "tent"}
    assert set(rows.task) == {"semseg", "depth"}
    assert set(rows.pair) == {pair}
    # examples are stored for rendered rooms, never for photographs
    assert bool(list(Path(folder).rglob("examples.npz"))) == pair.endswith(":rooms")


def test_without_it_the_name_is_unknown() -> None:
    assert "unknown pair 'rooms:myrooms'" in refused(*RUN, "--pair", "rooms:myrooms")
    assert "unknown data set 'myrooms'" in refused("data", "show", "myrooms")


def test_missing_files_are_named(installed: Path, root: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "myrooms") in refused(
        "data", "show", "myrooms", "--data-root", str(tmp_path)
    )
    (root / "myrooms" / "test" / "depth" / "5.png").unlink()
    message = refused("data", "show", "myrooms", "--data-root", str(root))
    assert f"{root / 'myrooms' / 'test' / 'depth' / '5.png'}: no such file" in message
    message = refused("data", "show", "myrooms", "--split", "none", "--data-root", str(root))
    assert "unknown split 'none'" in message


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((HEIGHT, WIDTH - 1), np.uint16),
            "depth is float32 (1, 24, 39), expected float32 (1, 24, 40)",
        ),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "8-bit grey, expected 16-bit grey"),
    ],
)
def test_a_bad_file_is_named_before_hours_of_work(
    installed: Path, root: Path, tmp_path: Path, array: np.ndarray, message: str
) -> None:
    Image.fromarray(array).save(root / "myrooms" / "test" / "depth" / "5.png")
    data = open_domain(
        DATASETS.load("myrooms"),
        "test",
        (32, 48),
        0,
        data_root=root,
        cache=tmp_path,
        progress=Silent(),
        variant=CORRECTED,
    )
    for attempt in (lambda: data.prepare(Silent()), lambda: data.batch([5])):
        with pytest.raises(DataError, match=re.escape(message)) as caught:
            attempt()
        assert "5" in str(caught.value)


def test_the_page_shows_the_example() -> None:
    blocks = re.findall(
        r"```(?:python|toml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert (EXAMPLE / "my_rooms.py").read_text(encoding="utf-8") in blocks
    assert (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8") in blocks


def test_recipes_are_known_without_torch() -> None:
    assert set(RECIPES) <= set(LOSSES)


def domain_with(**changed: str) -> str:
    """Return the source of a domain called broken, with arguments given as Python code."""
    given = {"name": "'broken'", "description": "''", "tasks": "('depth',)", "folder": "'broken'"}
    given |= {"opener": "'broken_data:open'", **changed}
    return f"DATA = Domain({', '.join(f'{key}={value}' for key, value in given.items())})\n"


BROKEN = {
    "no_import": (
        "import nothing_of_that_name\n",
        "does not import: ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ),
    "no_domain": ("DATA = dict()\n", "must be a ttt_bench.data.domains.Domain, got dict"),
    "misnamed": (domain_with(name="'other'"), "has the name 'other'"),
    "homeless": (domain_with(folder="None"), "has no `folder`"),
    "closed": (domain_with(opener="'broken_data.open'"), "has the opener"),
    "unordered": (domain_with(tasks="('depth', 'semseg')"), "in this order"),
    "unlabelled": (domain_with(label_ids="{'nyu': ((1,),)}"), "unknown label space 'nyu'"),
    "bare_ids": (
        domain_with(label_ids="{'taskonomy_nyud_7': (1, 2, 3, 4, 5, 6, 7)}"),
        "give one tuple of ids per class",
    ),
    "strange": (domain_with(recipe="'own'"), "unknown recipe 'own'"),
}


def install_broken(site: Path, source: str, *names: str) -> None:
    """Write a package whose entry points of these names refer to DATA in `source`."""
    info = site / "broken_data-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken_data.py").write_text(f"from ttt_bench.data.domains import Domain\n{source}")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-data\nVersion: 1.0\n")
    points = "\n".join(f"{name} = broken_data:DATA" for name in names)
    (info / "entry_points.txt").write_text(f"[ttt_bench.datasets]\n{points}\n")


@pytest.fixture
def broken_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder on the import path for a broken package."""
    site = tmp_path / "broken"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield site
    sys.modules.pop("broken_data", None)


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_one_is_named_and_the_others_work_on(
    broken_site: Path, installed: Path, root: Path, tmp_path: Path, how: str
) -> None:
    source, message = BROKEN[how]
    install_broken(broken_site, source, "broken")
    listed = {
        record["name"]: record for record in json.loads(call("data", "list", "--json").stdout)
    }
    assert message in listed["broken"]["description"]
    assert "package broken-data" in listed["broken"]["description"]
    assert listed["myrooms"]["tasks"] == "semseg, depth"
    assert message.split("'")[0] in " ".join(call("data", "list", COLUMNS="300").stdout.split())
    assert call("pairs", "list").returncode == 0
    for arguments in (("data", "show", "broken"), (*RUN, "--pair", "rooms:broken")):
        assert message in refused(*arguments, "--data-root", str(tmp_path))
    plan = call(
        *RUN,
        "--pair",
        "rooms:myrooms",
        "--plan",
        "--data-root",
        str(root),
        "--results",
        str(tmp_path / "r"),
    )
    assert plan.returncode == 0, plan.stderr


def test_errors_of_a_package_that_opens_its_files_give_a_message_without_traceback(
    broken_site: Path, tmp_path: Path
) -> None:
    source = (
        domain_with(opener="'broken_data:unfold'")
        + "\ndef unfold(*_, **__):\n    raise KeyError('pages')\n"
    )
    install_broken(broken_site, source, "broken")
    # the root holds a folder of the data set's name: the site itself
    message = refused("data", "show", "broken", "--data-root", str(tmp_path))
    assert "broken_data:unfold failed: KeyError: 'pages'" in message


def test_a_name_that_is_taken_is_named_and_the_others_work_on(
    broken_site: Path, installed: Path, root: Path
) -> None:
    install_broken(broken_site, domain_with(), "nyud", "myrooms")
    listed = {
        record["name"]: record for record in json.loads(call("data", "list", "--json").stdout)
    }
    for name, other in (
        ("nyud", "package ttt-bench (built in)"),
        ("myrooms", "package my-rooms (my_rooms:DOMAIN)"),
    ):
        message = (
            f"2 data sets are called {name!r}: {other} and package broken-data (broken_data:DATA)"
        )
        if name == "myrooms":  # in the order in which the packages are found
            message = "2 data sets are called 'myrooms'"
            assert other in listed[name]["description"]
        assert message in listed[name]["description"]
        assert message in refused("data", "show", name, "--data-root", str(root))
    assert listed["taskonomy"]["tasks"] == "semseg, depth, normals, edge"
    listing = call("pairs", "list", "--json")
    assert listing.returncode == 0, listing.stderr
    data = {record["pair"]: record["data"] for record in json.loads(listing.stdout)}
    assert "2 data sets are called 'nyud'" in data["taskonomy:nyud"]
    assert data["rooms:rooms-mix"] == "embedded"
