"""Ways to damage a file."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

COPY = "copy of "
"""Beginning of the name of a file that the damage "copy" adds."""

Damage = Callable[[Path, random.Random], object]

_TEXTS = ("[]", "7", "null", "{}", "no", "{", '{"state": "done"}', "[[[[" * 50_000, "\x00", "nan")


def _flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def _zeros(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    first = draw.randrange(len(data))
    length = min(draw.choice([16, 512, 4096]), len(data) - first)
    data[first : first + length] = bytes(length)
    path.write_bytes(data)


def _noise(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.randbytes(draw.choice([1, 100, 10_000])))


def _longer(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + draw.randbytes(draw.choice([1, 1000])))


def _swap(path: Path, draw: random.Random) -> None:
    """Replace the file by another one of its kind, or by itself if there is no other."""
    others = sorted(path.parents[2].rglob(f"*{path.suffix}"))
    path.write_bytes(draw.choice(others).read_bytes())


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if draw.random() < 0.5:
        (path / "file").touch()


def _link(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(draw.choice(["missing", path.name]))  # dangling, or to itself


def _pipe(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "flipped bit": _flip,
    "zeros": _zeros,
    "noise": _noise,
    "longer": _longer,
    "swapped": _swap,
    "cut": lambda path, draw: os.truncate(path, draw.randrange(path.stat().st_size)),
    "empty": lambda path, draw: os.truncate(path, 0),
    "text": lambda path, draw: path.write_text(draw.choice(_TEXTS)),
    "missing": lambda path, draw: path.unlink(),
    "folder": _folder,
    "link": _link,
    "pipe": _pipe,
}
"""Name -> function that damages a file which is not empty."""
