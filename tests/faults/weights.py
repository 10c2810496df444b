"""Odd files of weights for `--source-weights` and `model.weights`."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faults.command import call
from faults.outcome import ACCEPTED, DEFECT, Outcome, judge
from faults.sweeps import Calm, Place
from ttt_bench.results import store

CAMPAIGN = "weights"
Tensors = dict[str, Tensor]
_DTYPES = (
    *(torch.bool, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64),
    torch.complex64,
)


class _Canary:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def campaign(calms: list[Calm], count: int, draw: random.Random, root: Path) -> Iterator[Outcome]:
    """Run Base with `count` odd files of weights; nothing may be unpickled."""
    calm = calms[0]
    whole, canary = _model_tensors(calm), root / "canary"
    folder = root / "weights"
    folder.mkdir()
    for number in range(count):
        name = sorted(FILES)[number % len(FILES)]
        backbone = draw.random() < 0.25
        path = folder / f"{number}.{draw.choice(['safetensors', 'safetensors', 'pth', 'bin'])}"
        tensors = _backbone_tensors(whole) if backbone else whole
        FILES[name](path, dict(tensors), draw, canary)
        yield _tried(calm, path, name, backbone=backbone, canary=canary, root=root)


def _tried(
    calm: Calm, path: Path, name: str, *, backbone: bool, canary: Path, root: Path
) -> Outcome:
    place = Place(root / f"{path.stem}-run")
    place.root.mkdir()
    option = f"--set=model.weights={path}" if backbone else f"--source-weights={path}"
    environment = {**place.environment, "TTT_BENCH_CACHE": str(calm.place.cache)}
    ended = call(
        *calm.sweep.command(place, option, "--methods=base", "--protocol=online"),
        environment=environment,
    )
    outcome, detail = judge(ended, same=None)
    if canary.exists():
        outcome, detail = DEFECT, "unpickled"
    elif outcome == ACCEPTED and name in REFUSED and not backbone:
        states = [manifest["state"] for _, manifest in store.cells(place.results)]
        outcome, detail = DEFECT, f"accepted, and ended as {states}: {ended.text[-500:]}"
    place.remove()
    fault = f"{'model.weights' if backbone else '--source-weights'}: {name}"
    return Outcome(campaign=CAMPAIGN, fault=fault, outcome=outcome, detail=detail)


def _model_tensors(calm: Calm) -> Tensors:
    """Return the tensors of a source model as `--source-weights` takes them."""
    checkpoints = calm.place.results / "checkpoints"
    for path in sorted(checkpoints.glob("[!.]*.safetensors")):
        tensors = load_file(path)
        prefix = "model."
        if any(name.startswith(f"{prefix}backbone") for name in tensors):
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
    raise RuntimeError(f"no source model in {checkpoints}")


def _backbone_tensors(tensors: Tensors) -> Tensors:
    return {
        name.partition("backbone.")[2]: tensor
        for name, tensor in tensors.items()
        if name.startswith("backbone.")
    }


def _save(path: Path, tensors: Tensors) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


def _changed(change: Callable[[Tensors, str, random.Random], None]) -> Callable[..., None]:
    """Return a writer of tensors of which one, drawn at random, is changed."""

    def write(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
        floats = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
        change(tensors, draw.choice(sorted(floats)), draw)
        _save(path, tensors)

    return write


def _set_not_finite(tensors: Tensors, name: str, draw: random.Random) -> None:
    values = tensors[name].clone().reshape(-1)
    values[draw.randrange(len(values))] = draw.choice([float("nan"), float("inf"), -float("inf")])
    tensors[name] = values.reshape(tensors[name].shape)


def _reshape(tensors: Tensors, name: str, draw: random.Random) -> None:
    tensors[name] = tensors[name].reshape(-1)[:-1]


def _rename(tensors: Tensors, name: str, draw: random.Random) -> None:
    tensors[draw.choice(["", "π.weight", f"module.{name}", "a" * 5000])] = tensors.pop(name)


def _convert(tensors: Tensors, name: str, draw: random.Random) -> None:
    tensors[name] = tensors[name].to(draw.choice(_DTYPES[:3] + _DTYPES[-1:]))


def _magnify(tensors: Tensors, name: str, draw: random.Random) -> None:
    tensors[name] = tensors[name] * 1e30


def _drop(tensors: Tensors, name: str, draw: random.Random) -> None:
    del tensors[name]


def _all_of_type(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    _save(path, {name: tensor.to(draw.choice(_DTYPES)) for name, tensor in tensors.items()})


def _pickled(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    protocol = draw.randrange(2, 6)
    path.write_bytes(pickle.dumps(_Canary(canary), protocol=protocol))


def _torch_saved(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    torch.save({**tensors, "epoch": _Canary(canary)}, path)


def _header(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    """Write a safetensors file with an odd header."""
    entry: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    odd: dict[str, Any] = {
        "dtype": draw.choice(["F33", "", None, 7]),
        "shape": draw.choice([[-1], [2**62, 2**62], "x", [1.5]]),
        "data_offsets": draw.choice([[8, 0], [0, 2**63], [-8, 0], [0], None]),
    }
    key = draw.choice(sorted(odd))
    text = json.dumps({"a": {**entry, key: odd[key]}}).encode()
    length = draw.choice([len(text), len(text), 2**62, 0, len(text) - 1])
    path.write_bytes(struct.pack("<Q", length) + text + bytes(8))


def _nested(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    text = b"[" * 100_000
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def _cut(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    _save(path, tensors)
    os.truncate(path, draw.randrange(path.stat().st_size))


def _noise(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    path.write_bytes(draw.randbytes(draw.choice([0, 1, 7, 8, 9, 4096])))


def _loop(path: Path, tensors: Tensors, draw: random.Random, canary: Path) -> None:
    path.symlink_to(draw.choice([path.name, "missing", "/dev/zero", "/proc/self/mem"]))


FILES: dict[str, Callable[[Path, Tensors, random.Random, Path], None]] = {
    "not finite": _changed(_set_not_finite),
    "other shape": _changed(_reshape),
    "other name": _changed(_rename),
    "other type": _changed(_convert),
    "huge values": _changed(_magnify),
    "tensor missing": _changed(_drop),
    "no tensor": lambda path, tensors, draw, canary: _save(path, {}),
    "types at random": _all_of_type,
    "pickle": _pickled,
    "torch.save": _torch_saved,
    "odd header": _header,
    "nested header": _nested,
    "cut": _cut,
    "noise": _noise,
    "missing file": lambda path, tensors, draw, canary: None,
    "folder": lambda path, tensors, draw, canary: path.mkdir(),
    "pipe": lambda path, tensors, draw, canary: os.mkfifo(path),
    "link": _loop,
    "text": lambda path, tensors, draw, canary: path.write_text("weights"),
}
"""Name -> function that writes such a file: (path, tensors, draw, canary)."""
REFUSED = frozenset(FILES) - {"huge values", "types at random"}
"""Files that no run may accept as weights of the source model."""
