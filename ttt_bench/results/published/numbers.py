"""The file `published.csv`, and its numbers with the digits of the papers.

It has every number of the tables of TR-TTT and S4T: `paper, table, pair, method, task, metric,
value, std, note`, with mIoU in percent, mErr in degrees, RMSE in the units of the aligned target,
`delta_ttt` in percent, `params_m` in millions and `inference_s` in seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd

from ttt_bench.tasks import PAPER_TASKS

FILE = "published.csv"
BACKBONE = "resnet50"
"""The backbone of the published runs, by its name in timm."""
ARCHITECTURE = "hypercolumn"
"""The network of the published runs, and of results without an entry for it."""
STRONG_BASELINE = ("mti_net", "hrnet_w48")
"""Architecture and backbone of S4T's supplement, Table 3; the backbone is inferred."""
STRONG_TABLE = ("S4T", "Table 3")
STRONG_METHOD, STRONG_NAME = "nc_ttt+mti_net", "NC-TTT on MTI-Net"
"""The method's name in that table, with its network."""


@dataclass(frozen=True)
class PublishedNumber:
    """A printed mean and standard deviation, in decimal or exponent notation.

    Attributes:
        mean: the digits of the mean.
        sd: the digits of the standard deviation; empty without one.
    """

    mean: str
    sd: str = ""

    @property
    def value(self) -> float:
        """Return the mean."""
        return float(self.mean)

    @property
    def spread(self) -> float | None:
        """Return the standard deviation, or None without one."""
        return float(self.sd) if self.sd else None


def half_unit(text: str) -> float:
    """Return the largest rounding error of a printed number: half a unit of its last digit.

    Examples: 0.005 for '39.75', 5e-7 for '7.1e-05'.
    """
    digits, _, exponent = text.lower().partition("e")
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals(digits))


def decimals(text: str) -> int:
    """Return the number of digits after the point of a number in decimal notation."""
    return len(text.partition(".")[2])


@cache
def printed() -> pd.DataFrame:
    """Return the file as text: every column holds strings, empty ones for missing values."""
    with files(__package__).joinpath(FILE).open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str, keep_default_na=False)


@cache
def numbers() -> pd.DataFrame:
    """Return every published number, with the columns of the file; `value` and `std` as floats."""
    frame = printed()
    return frame.assign(
        value=pd.to_numeric(frame["value"]), std=pd.to_numeric(frame["std"].replace("", None))
    )


def published_parameters(
    architecture: str, backbone: str, tasks: Collection[str]
) -> dict[str, float]:
    """Return method -> parameters in millions, as S4T's supplement prints them.

    Table 6 has those of ResNet-50 with four tasks, and Table 3 those of NC-TTT on MTI-Net, whose
    backbone is inferred. The result is empty for other networks.

    Args:
        architecture: name of the network.
        backbone: name of the backbone in timm, with or without the tag of its weights.
        tasks: the tasks of the network.
    """
    network = (architecture, backbone.partition(".")[0])
    if set(tasks) != set(PAPER_TASKS):
        return {}
    if network == STRONG_BASELINE:
        return _strong_baseline("params_m")
    return _of_methods("params_m") if network == (ARCHITECTURE, BACKBONE) else {}


@cache
def published_seconds(architecture: str = ARCHITECTURE) -> dict[str, float]:
    """Return method -> inference time in seconds, as S4T's supplement prints it.

    Table 6 has those of the default network, and Table 3 that of NC-TTT on MTI-Net.
    """
    if architecture == ARCHITECTURE:
        return _of_methods("inference_s")
    if architecture == STRONG_BASELINE[0]:
        return _strong_baseline("inference_s")
    return {}


def _strong_baseline(metric: str) -> dict[str, float]:
    """Return a metric of the method on MTI-Net, by the method's name."""
    _, table = STRONG_TABLE
    return {STRONG_METHOD.partition("+")[0]: _of_methods(metric, table)[STRONG_METHOD]}


def _of_methods(metric: str, table: str = "Table 6") -> dict[str, float]:
    """Return method -> a metric of one of S4T's tables."""
    frame = numbers()
    printed_there = (frame["paper"] == "S4T") & (frame["table"] == table)
    chosen = frame[printed_there & (frame["metric"] == metric)]
    return {
        str(method): float(value)
        for method, value in zip(chosen["method"], chosen["value"], strict=True)
    }
