"""Run cells again from their manifests, and compare the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttt_bench.analysis.comparing.cell_differences import Difference, cell_differences
from ttt_bench.api import compute
from ttt_bench.config.merging import default_data_root, make_request
from ttt_bench.config.request import Request
from ttt_bench.config.request_record import TUNED, recorded_fields
from ttt_bench.config.tuned import Tuned
from ttt_bench.data.registry import domain_names
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS, NETWORKS
from ttt_bench.results import store
from ttt_bench.results.records import MANIFEST
from ttt_bench.stats.conditions import conditions
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.plan import Sweep, plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.progress import Progress

DATA = (
    *("target", "target_code", "target_images", "target_size", "tasks", "label_space"),
    *("target_statistics", "variant"),
)
"""Entries of a configuration that state which images and labels it is about."""
DERIVED = ("source", "statistics")
"""Entries of a configuration that follow from others: keys of the source model."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A finished cell, as its folder records it."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Return the cell in words."""
        names = ("method", "pair", "protocol", "control", "seed")
        method, pair, protocol, control, seed = (self.manifest[name] for name in names)
        under = "" if control == "none" else f", control {control}"
        return f"{method} on {pair}, {protocol}{under}, seed {seed}"


@dataclass(frozen=True, kw_only=True)
class Here:
    """What this machine has in another place than the one that computed a cell.

    Attributes:
        results: the results folder of the repeated cells.
        device: the device; None for that of the record.
        threads: number of threads; None for that of the record.
        train_devices: number of devices that train a source model; None for that of the record.
        data_root: the folder that contains the data sets' folders.
        source_weights: the file of --source-weights; None for that of the record.
    """

    results: Path
    device: str | None = None
    threads: int | None = None
    train_devices: int | None = None
    data_root: Path | None = None
    source_weights: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A cell that was computed again.

    Attributes:
        recorded: the cell of the record.
        folder: the folder of the repeated cell.
        state: how the repeated cell ended.
        differs: name -> (value of the record, value here) of everything that differs between the
            two computations, besides the numbers.
        numbers: the differences of the numbers; empty without any.
    """

    recorded: Recorded
    folder: Path
    state: str
    differs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    numbers: Sequence[Difference] = ()

    @property
    def same_state(self) -> bool:
        """Whether both ended in one state, such as done."""
        return bool(self.state == self.recorded.manifest["state"])

    @property
    def bit_equal(self) -> bool:
        """Whether all numbers are equal."""
        return self.same_state and not any(one.largest for one in self.numbers)

    @property
    def largest(self) -> float:
        """The largest absolute difference of a score, in the unit of its metric."""
        return max((one.largest for one in self.numbers if one.table == "rows"), default=0.0)

    def within(self, tolerance: float) -> bool:
        """Return whether all numbers are equal, or no score differs by more than a tolerance."""
        return self.bit_equal or (self.same_state and 0 < tolerance >= self.largest)


def read_record(path: Path) -> Recorded:
    """Return the cell of a manifest or of a cell's folder.

    Raises:
        BenchError: there is no whole cell, or its manifest does not hold the request.
    """
    folder = path.parent if path.name == MANIFEST else path
    manifest = store.read_cell(folder)
    if manifest is None:
        raise BenchError(
            f"{path} is not a cell; give the folder of a cell, results/.../cells/PAIR/METHOD-HASH, "
            "or its manifest.json"
        )
    if not manifest.get("request"):
        raise BenchError(
            f"{folder / MANIFEST} does not hold the request of its cell: an earlier version of "
            "ttt-bench wrote it; run the command of that sweep again"
        )
    return Recorded(folder=folder, manifest=manifest)


def plan_repeat(recorded: Recorded, here: Here, progress: Progress) -> Sweep:
    """Return the sweep that computes a recorded cell again.

    Raises:
        BenchError: a plugin is missing, the data differ, or the request cannot be run here.
    """
    _require_plugins(recorded, here.data_root or default_data_root())
    sweep = plan_sweep(resolve(_request(recorded, here)), progress)
    if len(sweep.cells) != 1:
        raise BenchError(f"{recorded.title}: its request does not give one cell in this version")
    if different := _different_data(recorded, sweep.cells[0]):
        raise BenchError(
            f"{recorded.title}: the data here are not those of the record ({different}); give the "
            "folder with the same files with --data-root"
        )
    if sweep.cells[0].folder(here.results).resolve() == recorded.folder.resolve():
        raise BenchError(
            f"--results {here.results} contains the recorded cell itself; choose another folder"
        )
    return sweep


def repeat(recorded: Recorded, sweep: Sweep, here: Here, progress: Progress) -> Repeated:
    """Compute a recorded cell again, and compare everything that is stored.

    Args:
        recorded: the cell.
        sweep: what `plan_repeat` returned.
        here: the choices of this machine.
        progress: shows long work.

    Raises:
        BenchError: the device is not available, data are damaged, or the results folder cannot be
            written.
    """
    compute(sweep, progress)
    (cell,) = sweep.cells
    folder = cell.folder(here.results)
    manifest = store.read_cell(folder)
    if manifest is None:
        raise BenchError(f"{recorded.title}: {folder} was removed during the run; run it again")
    return Repeated(
        recorded=recorded,
        folder=folder,
        state=str(manifest["state"]),
        differs=differing(recorded.manifest, manifest),
        numbers=cell_differences(recorded.folder, folder),
    )


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the conditions and settings in which two manifests of a cell differ."""
    ours, theirs = _conditions(first), _conditions(second)
    return {
        name: (ours.get(name, "missing"), theirs.get(name, "missing"))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    }


def _conditions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return everything but the numbers that may differ between two computations of a cell."""
    versions = manifest["provenance"].get("versions") or {}
    settings = {
        name: str(value)
        for name, value in manifest["configuration"].items()
        if name not in (*DERIVED, "code")
    }
    return {
        "state": str(manifest["state"]),
        **conditions(manifest),
        **{f"version of {name}": str(version) for name, version in versions.items()},
        "initial weights": str(manifest["provenance"]["plugins"]["backbone"]["weights"]),
        **settings,
    }


def _require_plugins(recorded: Recorded, data_root: Path | None) -> None:
    plugins = recorded.manifest["provenance"]["plugins"]
    datasets = domain_names(data_root)
    roles = {
        "method": METHODS.names(),
        "source": datasets,
        "target": datasets,
        "network": NETWORKS.names(),
    }
    for role, known in roles.items():
        plugin = plugins.get(role)  # earlier versions record no network
        if plugin and plugin["name"] not in known:
            raise BenchError(
                f"{recorded.title}: the {role} {plugin['name']} is not installed here; its package "
                f"is {plugin['package']} {plugin['version']}".rstrip()
            )


def _request(recorded: Recorded, here: Here) -> Request:
    """Return the request of a recorded cell with the choices of this machine."""
    manifest = recorded.manifest
    fields = recorded_fields(manifest["request"], manifest["preset_values"])
    if manifest["request"][TUNED]:
        fields["tuned"] = _tuned_file(manifest["request"][TUNED], here.results)
    if fields["device"] == "auto" and manifest["provenance"]["device"] == "cpu":
        fields["device"] = "cpu"
    own = {
        "results": here.results,
        "device": here.device,
        "threads": here.threads or manifest["provenance"].get("threads"),
        "train_devices": here.train_devices or manifest["provenance"].get("train_devices"),
        "data_root": here.data_root,
        "source_weights": here.source_weights,
    }
    return make_request(fields, own, file=recorded.folder / MANIFEST)


def _tuned_file(content: Mapping[str, Any], results: Path) -> Path:
    """Write the recorded content of a file of --tuned, and return its path."""
    path = results / "tuned.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(Tuned.model_validate(content).text(), encoding="utf-8")
    return path


def _different_data(recorded: Recorded, cell: Cell) -> str:
    """Return the entries on data in which a cell differs from the record, in words."""
    before, now = recorded.manifest["configuration"], cell.config
    found = [name for name in DATA if _plain(before.get(name)) != _plain(now.get(name))]
    source = recorded.manifest["provenance"]["source_data"]
    if source != cell.opened.source_data.fingerprint:
        found.append("source_data")
    if cell.weights and before["source"] != now["source"]:
        found.append("source_weights")
    return ", ".join(found)


def _plain(value: Any) -> Any:
    """Return a value as JSON stores it: tuples become lists."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
