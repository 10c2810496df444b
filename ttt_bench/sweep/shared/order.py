"""The work order: what worker processes are told, and how they check that they are equal.

A worker plans the sweep itself. It refuses to work if its code, packages or data differ from those
of the process that wrote the order, because its cells would have other keys or other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from ttt_bench.config.request import Request
from ttt_bench.data.registry import DATASETS
from ttt_bench.designs.study import Study
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS
from ttt_bench.sweep.plan import Sweep
from ttt_bench.util.hashing import harness_hash, hash_of, versions
from ttt_bench.util.input.validation import Strict
from ttt_bench.util.store import mirror
from ttt_bench.util.stored import sealed

_REMEDY = "start the run again, which writes it"


class WorkOrder(Strict):
    """What all workers of a sweep are told.

    Attributes:
        request: the request of each worker, with absolute paths.
        studies: the studies that the sweep belongs to; empty for `ttt-bench run`.
        attempts: hash -> number of stored attempts of the cells that had failed before.
        harness: hash of the code of ttt_bench.
        versions: versions of the packages that numbers depend on.
        methods: method -> hash of its code.
        data: pair -> role -> fingerprint of the data.
        cells: hash of the keys of all cells.
    """

    request: Request
    studies: tuple[Study, ...] = ()
    attempts: dict[str, int] = Field(default_factory=dict)
    harness: str
    versions: dict[str, str]
    methods: dict[str, str]
    data: dict[str, dict[str, str]]
    cells: str

    @property
    def key(self) -> str:
        """Return a hash of the order."""
        return hash_of(self.model_dump(mode="json"))


def make_order(sweep: Sweep, attempts: Mapping[str, int]) -> WorkOrder:
    """Return the order of a sweep.

    Args:
        sweep: the cells.
        attempts: hash -> number of stored attempts of the cells that have failed.

    Raises:
        BenchError: a plugin of the sweep exists in this process only.
    """
    _refuse_unregistered(sweep)
    request = sweep.request
    return WorkOrder(
        request=_for_workers(request),
        studies=sweep.studies,
        attempts=dict(attempts),
        harness=harness_hash(),
        versions=_versions(),
        **_contents(sweep),
    )


def write_order(path: Path, order: WorkOrder) -> None:
    """Write an order as JSON.

    Raises:
        BenchError: the file cannot be written.
    """
    # fields that were not given keep their defaults: some commands refuse fields that were given
    values = order.model_dump(mode="json", exclude_unset=True)
    sealed.write(path, values, "choose another folder with --results")


def read_order(path: Path) -> WorkOrder:
    """Return the order of a file.

    Raises:
        BenchError: the file is missing or damaged, or another version of ttt-bench wrote it.
    """
    mirror.fetch(path)
    return WorkOrder.model_validate(sealed.read(path, WorkOrder, _REMEDY))


def refuse_other_code(order: WorkOrder) -> None:
    """Raise an error if this process has other code or packages than the order says.

    Raises:
        BenchError: it has; one line per difference.
    """
    own = _versions()
    problems = [
        f"{name} is {own[name]} here, and {version} where the run was started"
        for name, version in order.versions.items()
        if own[name] != version
    ]
    if order.harness != harness_hash():
        problems.append("the code of ttt_bench differs from the code where the run was started")
    _refuse(problems, "install the same packages on all machines")


def refuse_other_work(order: WorkOrder, sweep: Sweep) -> None:
    """Raise an error if a sweep differs from the one that the order describes.

    Raises:
        BenchError: methods, data or keys of cells differ; one line per difference.
    """
    own = _contents(sweep)
    problems = [
        f"the code of method {name} differs from the code where the run was started"
        for name, code in order.methods.items()
        if own["methods"].get(name) != code
    ]
    problems += [
        f"the {role} data of {pair} differ from those where the run was started"
        for pair, roles in order.data.items()
        for role, fingerprint in roles.items()
        if own["data"].get(pair, {}).get(role) != fingerprint
    ]
    if not problems and own["cells"] != order.cells:
        problems.append("the plan differs from the plan where the run was started")
    _refuse(problems, "give all machines the same code and data")


def _refuse(problems: list[str], remedy: str) -> None:
    if problems:
        raise BenchError("\n".join(f"worker refused: {one}; {remedy}" for one in problems))


def _versions() -> dict[str, str]:
    """Return the versions of all packages without that of Python."""
    return {name: version for name, version in versions().items() if name != "python"}


def _for_workers(request: Request) -> Request:
    """Return a request with which a worker computes in its own process, in any folder."""
    paths: dict[str, Any] = {
        name: value.absolute() for name, value in request if isinstance(value, Path)
    }
    threads = request.threads or torch.get_num_threads()
    own = {"launcher": "local", "launcher_option": {}, "workers": 1, "threads": threads}
    # the values are those of a valid request
    return request.model_copy(update={**paths, **own})


def _contents(sweep: Sweep) -> dict[str, Any]:
    pairs = {cell.opened.pair.name: cell.opened for cell in sweep.cells}
    return {
        "methods": {cell.method: str(cell.config["code"]) for cell in sweep.cells},
        "data": {
            name: {
                "source": opened.source_data.fingerprint,
                "target": opened.target_data.fingerprint,
            }
            for name, opened in pairs.items()
        },
        "cells": hash_of([cell.hash for cell in sweep.cells]),
    }


def _refuse_unregistered(sweep: Sweep) -> None:
    """Raise an error if workers cannot find a method or data set."""
    names = sorted(_unregistered(sweep))
    if names:
        raise BenchError(
            f"{', '.join(names)}: registered in this process only, so that other processes cannot "
            "find it; register it by an entry point of a package, or use workers=1"
        )


def _unregistered(sweep: Sweep) -> Iterator[str]:
    methods = {cell.method for cell in sweep.cells}
    domains = {
        domain.name
        for cell in sweep.cells
        for domain in (cell.opened.pair.source, cell.opened.pair.target)
    }
    for kind, names, registry in (("method", methods, METHODS), ("data set", domains, DATASETS)):
        for name in names:
            if name in registry.names() and not registry.entry(name).package:
                yield f"{kind} {name}"
