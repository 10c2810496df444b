"""Damaged and odd files give one line that names them, whatever reads them."""

from __future__ import annotations

import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image
from support.files import nyud_files, taskonomy_files
from support.files.odd_files import ODD, write_odd

from ttt_bench.data.images.files import PHOTO, RGB, fingerprint, read_image, read_npy
from ttt_bench.data.listed.layout import read_ids
from ttt_bench.data.listed.manifest import NAME, read_manifest
from ttt_bench.data.nyud import decode as nyud
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.data.nyud.index import LAYOUT
from ttt_bench.data.pascal import decode as pascal
from ttt_bench.data.taskonomy import decode as taskonomy
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

SIZE = (48, 64)


def npy(header: bytes, body: bytes = b"") -> bytes:
    """Return a file in NumPy's format, version 1.0, with any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose header states a size, without pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4\n"),  # TokenError
        npy(b"{'descr': '<f4' 'fortran_order': False\n"),  # SyntaxError
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999), }\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4), }\n"),
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 4), }\n"),
        npy(b"(" * 2000 + b"\n"),
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4), }\n", b"123"),
        b"PK\x03\x04 looks like an archive",
        b"\x80\x04 looks like a pickle",
        b"",
    ],
)
def test_a_damaged_array_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "depth.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)) as caught:
        read_npy(path)
    assert "\n" not in str(caught.value)


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npy", "w") as archive:
        archive.writestr("x.npy", npy(b"nonsense"))
    with pytest.raises(DataError, match="an archive of arrays"):
        read_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_picture_of_an_impossible_size_is_named(tmp_path: Path, side: int) -> None:
    path = tmp_path / "rgb.png"
    path.write_bytes(png_of_size(side, side))
    with pytest.raises(DataError, match=str(path)):
        read_image(path, RGB)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("reader", [partial(read_image, wanted=PHOTO), read_npy])
def test_readers_take_regular_files_only(
    tmp_path: Path, reader: Callable[[Path], Any], kind: str
) -> None:
    path = tmp_path / "0005.npy"
    write_odd(path, kind)
    with pytest.raises(DataError, match=str(path)):
        reader(path)


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_entry_with_the_name_of_a_file_is_named_when_a_list_needs_it(
    tmp_path: Path, kind: str
) -> None:
    root = nyud_files.write(tmp_path / "nyud")
    path = nyud_files.file_of(root, "0001", "images")
    path.unlink()
    write_odd(path, kind)
    with pytest.raises(DataError, match=r"such as '0001'.*found images/0001\.png \("):
        NYUD.open(root, "test", SIZE, Silent())


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_entry_with_the_name_of_a_frame_is_ignored_with_a_notice(
    tmp_path: Path, kind: str
) -> None:
    root = taskonomy_files.write(tmp_path / "taskonomy", ("house",))
    path = taskonomy_files.file_of(root, "house", "point_2_view_0", "normal")
    path.unlink()
    write_odd(path, kind)
    data = Taskonomy.open(root, "test", SIZE, Silent())
    assert len(data) == len(taskonomy_files.STEMS) - 1
    assert any(str(path) in notice and "ignored 1" in notice for notice in data.notices)
    data.prepare(Silent())


@pytest.mark.parametrize("kind", ODD)
def test_a_list_and_a_manifest_are_regular_files(tmp_path: Path, kind: str) -> None:
    root = nyud_files.write(tmp_path / "nyud")
    (root / "gt_sets" / "val.txt").unlink()
    write_odd(root / "gt_sets" / "val.txt", kind)
    with pytest.raises(DataError, match=r"gt_sets/val\.txt"):
        NYUD.open(root, "test", SIZE, Silent())
    write_odd(tmp_path / NAME, kind)
    with pytest.raises(DataError, match=NAME):
        read_manifest(tmp_path)


def test_a_file_that_becomes_unreadable_is_named_by_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = nyud_files.write(tmp_path / "nyud")
    data, real = NYUD.open(root, "test", SIZE, Silent()), Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "0001.npy":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DataError, match=r"0001\.npy cannot be read \(Permission denied\); check"):
        fingerprint(data.listing, ("image", "depth"), "looking", Silent())


# Random damage

Reader = Callable[[Path], Any]


def written(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """Write one file of each kind; return its path and its reader."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    grey = draw.integers(0, 18, SIZE, dtype=np.uint8)
    deep = draw.integers(300, 3000, SIZE, dtype=np.uint16)
    colour = draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    vectors = draw.normal(size=(*SIZE, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    palette = Image.fromarray(grey).convert("P")
    (folder / "gt_sets").mkdir()
    made: dict[str, tuple[Path, Reader]] = {}

    def add(name: str, reader: Reader, write: Callable[[Path], Any]) -> None:
        write(folder / name)
        made[name] = folder / name, reader

    def picture(array: np.ndarray) -> Callable[[Path], Any]:
        return Image.fromarray(array).save

    def array(values: np.ndarray) -> Callable[[Path], Any]:
        return lambda path: np.save(path, values)

    add("rgb.png", partial(taskonomy.read, part="rgb"), picture(colour))
    add("rgb.jpg", partial(taskonomy.read, part="rgb"), picture(colour))
    add("semseg.png", partial(taskonomy.read, part="semseg"), picture(grey))
    add("palette.png", partial(taskonomy.read, part="semseg"), palette.save)
    add("zbuffer.png", partial(taskonomy.read, part="depth"), picture(deep))
    add("occlusion.png", partial(taskonomy.read, part="edge"), picture(deep))
    add("normal.png", partial(taskonomy.read, part="normals"), picture(colour))
    add("labels.png", partial(nyud.read, part="semseg"), picture(grey))
    add("depth.npy", partial(nyud.read, part="depth"), array(deep.astype(np.float32) / 512))
    add("depth64.npy", partial(nyud.read, part="depth"), array(deep[..., None] / 512))
    add("normals.npy", partial(nyud.read, part="normals"), array(vectors))
    add("edge.npy", partial(nyud.read, part="edge"), array((grey > 9).astype(np.int64)))
    add("edge.png", partial(nyud.read, part="edge"), picture((grey > 9) * np.uint8(255)))
    add(
        "context.mat",
        partial(pascal.read, part="context"),
        lambda path: scipy.io.savemat(path, {"LabelMap": deep % 460}, do_compression=True),
    )
    add(
        "gt_sets/val.txt",
        lambda path: read_ids(LAYOUT, path.parents[1], "val"),
        lambda path: path.write_text("0001\n0002\n", encoding="utf-8"),
    )
    entries = {"normal_axes": "left / up / backward", "checked": ["a"], "cache": {"size": [4, 4]}}
    add(
        NAME,
        lambda path: read_manifest(path.parent),
        lambda path: path.write_text(json.dumps(entries), encoding="utf-8"),
    )
    return made


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return a file's content with one random damage, more often near its start."""
    at = int(len(content) * draw.random() ** draw.choice((1, 4)))
    kind = draw.randrange(5)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + draw.randbytes(draw.randint(1, 8)) + content[at:]
    if kind == 2:
        return content[:at] + content[at + draw.randint(1, 64) :]
    length = draw.choice((1, 1, 4, 40))
    new = bytes(length) if kind == 3 else draw.randbytes(length)
    return content[:at] + new + content[at + length :]


def strange_errors(folder: Path, tries: int, seed: int) -> list[str]:
    """Return the errors other than DataErrors of one line that damaged files give."""
    draw, found = random.Random(seed), []
    for name, (path, reader) in written(folder).items():
        content = path.read_bytes()
        for _ in range(tries):
            path.write_bytes(damaged(content, draw))
            try:
                reader(path)
            except DataError as error:
                if "\n" in str(error) or path.name not in str(error):
                    found.append(f"{name}: {error}")
            except Exception as error:
                found.append(f"{name}: {type(error).__name__}: {error}")
        path.write_bytes(content)
        reader(path)
    return found


@pytest.mark.filterwarnings("ignore")
def test_random_damage_gives_nothing_but_data_errors(tmp_path: Path) -> None:
    assert strange_errors(tmp_path / "files", tries=25, seed=1) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_much_random_damage_gives_nothing_but_data_errors(tmp_path: Path) -> None:
    assert strange_errors(tmp_path / "files", tries=1000, seed=2) == []
