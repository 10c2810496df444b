"""Read the golden vectors; `tests/golden/README.md` states their format and contracts."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import torch

from support.paths import GOLDEN

FOLDER = GOLDEN
ROW = re.compile(r"^\| `(?P<stem>\w+)\.npz` \| `(?P<contract>[\w.]+)` \|", re.MULTILINE)
CONTRACTS = {
    m["stem"]: m["contract"]
    for m in ROW.finditer((FOLDER / "README.md").read_text(encoding="utf-8"))
}


class Case(NamedTuple):
    """One case of a golden file: arguments and results by name, and the tolerance of results."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    rtol: float
    atol: float


def cases(stem: str) -> list[Case]:
    """Return every case of `tests/golden/<stem>.npz`, in order, with arrays as torch tensors."""
    with np.load(FOLDER / f"{stem}.npz", allow_pickle=False) as data:
        arrays = {key: data[key] for key in data.files}
    found: dict[str, tuple[dict[str, Any], dict[str, Any], list[float]]] = {}
    for key, array in arrays.items():
        number, kind = key.split(".", 1)
        inputs, outputs, tolerance = found.setdefault(number, ({}, {}, []))
        if kind == "tol":
            tolerance.extend(float(value) for value in array)
            continue
        side, name = kind.split(".", 1)
        _place({"in": inputs, "out": outputs}[side], name, array)
    return [
        Case(_close_lists(inputs), _close_lists(outputs), *tolerance)
        for _, (inputs, outputs, tolerance) in sorted(found.items(), key=lambda item: int(item[0]))
    ]


def assert_close(actual: Any, expected: Any, case: Case) -> None:
    """Assert that a result equals the expected one within the case's tolerance.

    Results are tensors, arrays or numbers, also nested in lists or dicts.
    """
    if isinstance(expected, dict):
        assert set(actual) == set(expected)
        for key, value in expected.items():
            assert_close(actual[key], value, case)
    elif isinstance(expected, list) and len(expected) and not isinstance(expected[0], bool):
        assert len(actual) == len(expected)
        for ours, theirs in zip(actual, expected, strict=True):
            assert_close(ours, theirs, case)
    else:
        ours, theirs = _numpy(actual), _numpy(expected)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=case.rtol, atol=case.atol)


def _numpy(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _place(side: dict[str, Any], name: str, array: np.ndarray) -> None:
    if not name.endswith("]"):
        side[name] = _value(array)
        return
    outer, key = name[:-1].split("[", 1)
    # the scalars of a list stay tensors, so that a loss of them can be differentiated
    in_list = key.isdigit()
    value = torch.from_numpy(array) if in_list and array.dtype == np.float64 else _value(array)
    side.setdefault(outer, {})[int(key) if in_list else key] = value


def _value(array: np.ndarray) -> Any:
    if array.ndim == 0:
        return array.item()
    if array.ndim == 1 and array.dtype.kind in "bU":  # flags or names
        return array.tolist()
    return torch.from_numpy(array)


def _close_lists(side: dict[str, Any]) -> dict[str, Any]:
    """Turn every dict with the keys 0, 1, ... into a list."""
    return {name: _close_list(value) for name, value in side.items()}


def _close_list(value: Any) -> Any:
    if isinstance(value, dict) and all(isinstance(key, int) for key in value):
        return [value[i] for i in range(len(value))]
    return value
