"""Small results folders with every kind of stored file."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ttt_bench.config.toml_text import toml_text
from ttt_bench.designs.declared_studies import declared
from ttt_bench.errors import DivergedError
from ttt_bench.results import measurements, schema, store
from ttt_bench.results.checkpoints.diverged import write_diverged
from ttt_bench.results.checkpoints.trained_data import write_trained_data
from ttt_bench.results.study_files import ArmFile, StudyFile, write_study
from ttt_bench.results.timed_work import Work, timed_now, write_time
from ttt_bench.util import tensor_file
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.stored import sealed

IDENTITY = {
    **dict.fromkeys(["hparams", "settings", "preset", "protocol", "data_variant"], "x"),
    "pair": "a:b",
    "control": "none",
    "seed": 0,
    "steps": 3,
}
MEASURED = pd.DataFrame({"phase": ["predict", "step"], "median": [0.25, 1.5], "repeats": [5, 7]})


def put_cell(
    root: Path, method: str = "tent", config: str = "c0ffee", value: float = 1.5, **manifest: Any
) -> Path:
    """Write a small done cell with every kind of file; return its folder."""
    identity = {
        **IDENTITY,
        "method": method,
        "config": config,
        "schema_version": schema.SCHEMA_VERSION,
    }
    row = {**dict.fromkeys(schema.ROW_COLUMNS, "x"), **identity, "step": 0, "n": 1, "value": value}
    table = pd.DataFrame({"step": [0, 1], "values": [[0.5, 1.5], [2.5, value]]})
    folder = store.cell_folder(root, "a:b", method, config)
    done = {"state": "done", "reason": None, "configuration": {"lr": 0.1}}
    files = store.CellFiles(
        manifest={**identity, **done, **manifest},
        attempts={"finished": "2026-01-01T00:00:00+00:00", "attempts": [{"state": "done"}]},
        rows=pd.DataFrame([row]),
        statistics=table,
        source=table,
        totals=table,
        losses=table,
        examples={"image": np.zeros((1, 4, 4, 3), np.uint8), "depth": np.ones((1, 4, 4))},
    )
    store.write_cell(folder, files)
    return folder


def put_failed(root: Path, method: str = "tent", config: str = "c0ffee") -> Path:
    """Write a failed cell; return its folder."""
    folder = store.cell_folder(root, "a:b", method, config)
    manifest = {**IDENTITY, "method": method, "config": config, "state": "failed"}
    manifest |= {"schema_version": schema.SCHEMA_VERSION, "reason": "no luck"}
    store.write_cell(folder, store.CellFiles(manifest=manifest, attempts={"attempts": []}))
    return folder


def put_checkpoint(root: Path, value: float = 1.0, *, stage: str = "shared") -> Path:
    """Write a checkpoint with its time; return the checkpoint."""
    about = {"stage": stage}
    path = root / "checkpoints" / f"{hash_of(about, 16)}.safetensors"
    tensor_file.save(path, {"w": torch.full((3, 2), value), "n": torch.arange(3)}, about)
    write_time(path, timed_now(Work(kind="training", needs={}, likes={}, units=1), 2.5))
    return path


def put_study(root: Path, *cells: str) -> Path:
    """Write a study whose arms have these cells; return its file."""
    study = declared("masking")
    arms = tuple(ArmFile(label=arm.label, cells=cells) for arm in study.all_arms)
    new = StudyFile(study=study, pair="a:b", key="0123456789ab", arms=arms)
    return write_study(root, new, print)


def put_timing(root: Path, finished: str = "2026", factor: float = 1.0) -> Path:
    """Write a measurement; return its folder."""
    return measurements.write(
        root,
        "timings",
        name="tent",
        key="0123456789ab",
        manifest={"method": "tent", "finished": finished},
        rows=MEASURED.assign(median=factor * MEASURED["median"]),
        notice=print,
    )


def put_everything(root: Path) -> dict[str, Path]:
    """Write a results folder with every kind of stored file; return a file of each kind."""
    checkpoint = put_checkpoint(root)
    cell = put_cell(root, provenance={"checkpoints": [checkpoint.stem]})
    write_trained_data(root / "checkpoints", {"some data": "0123"})
    write_diverged(checkpoint, DivergedError("it diverged at iteration 3", 3))
    partial = cell.with_name(".norm-decade.partial.safetensors")
    shard = partial.with_name(".norm-decade.shard-1-of-2.partial.safetensors")
    for path in (partial, shard):
        tensor_file.save(
            path, {"w": torch.ones(2)}, {"config": "decade", "unit": 1, "name": path.name}
        )
    order = root / "launched" / "0123" / "order.json"
    sealed.write(order, {"cells": ["decade"]})
    order.with_name("worker-0.log").write_text("started")
    content = b"rows of many cells"
    copy = root / "compacted" / f"rows-{sha256(content).hexdigest()[:24]}.parquet"
    copy.parent.mkdir()
    copy.write_bytes(content)
    tuned = root / "tuned.toml"
    table = {"record": {"pair": "a:b"}, "rate": 1e-5}
    tuned.write_text(toml_text({"digest": sealed.digest_of(table), **table}))
    return {
        "order": order,
        "tuned": tuned,
        "copy": copy,
        "rows": cell / "rows.parquet",
        "manifest": cell / "manifest.json",
        "attempts": cell / "attempts.json",
        "examples": cell / "examples.npz",
        "measurement": put_timing(root) / "rows.parquet",
        "measured": put_timing(root) / "manifest.json",
        "study": put_study(root, "c0ffee"),
        "checkpoint": checkpoint,
        "time": checkpoint.with_suffix(".times.json"),
        "diverged": checkpoint.with_suffix(".diverged.json"),
        "data": root / "checkpoints" / "data.json",
        "unfinished": partial,
        "shard": shard,
    }


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


def contents_of(root: Path, *without: str) -> dict[str, bytes]:
    """Map the path of every file below a folder to its content, without hidden folders."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in without and ".claims" not in path.parts
    }
