"""A data set of another package that changes the process is named, and the change is undone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.toy import TASKS, ToyDataset
from torch import nn

from ttt_bench.data.domains import Domain
from ttt_bench.data.open import open_domain
from ttt_bench.data.variants import CORRECTED
from ttt_bench.errors import DataError, ProcessError
from ttt_bench.network import Batch
from ttt_bench.util.progress import Silent


class Opens(ToyDataset):
    """Changes the default dtype when it is opened."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)


class Reads(ToyDataset):
    """Switches gradients off when images are read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def batch(self, indices: Sequence[int]) -> Batch:
        torch.set_grad_enabled(False)
        return super().batch(indices)


class Prepares(ToyDataset):
    """Replaces code when it is prepared, then gives up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def prepare(self, progress: Any) -> None:
        nn.Conv2d.forward = lambda layer, x: x  # type: ignore[method-assign]
        raise OSError("full")


def opened(opener: type, root: Path) -> Any:
    domain = Domain(
        name="toy", description="", tasks=tuple(TASKS), folder="toy",
        opener=f"{opener.__module__}:{opener.__qualname__}",
    )  # fmt: skip
    (root / "toy").mkdir()
    return open_domain(
        domain, "test", (32, 32), 4, data_root=root, cache=root, progress=Silent(),
        variant=CORRECTED,
    )  # fmt: skip


def test_opening_it_is_watched(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"opening data set toy changes .* the default dtype"):
        opened(Opens, tmp_path)
    assert torch.get_default_dtype() is torch.float32


def test_reading_it_is_watched(tmp_path: Path) -> None:
    dataset = opened(Reads, tmp_path)
    for read in (dataset.batch, lambda indices: dataset.augmented(indices, 0)):
        with pytest.raises(ProcessError, match=r"reading data set toy changes .* the grad mode"):
            read([0, 1])
        assert torch.is_grad_enabled()


def test_preparing_it_is_watched(tmp_path: Path) -> None:
    forward = nn.Conv2d.forward
    with pytest.raises(ProcessError, match=r"reading data set toy changes .*torch\.nn\.Conv2d"):
        opened(Prepares, tmp_path).prepare(Silent())
    assert nn.Conv2d.forward is forward


class Forgets(ToyDataset):
    """Uses a name that it has not defined when it is prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def prepare(self, progress: Any) -> None:
        raise KeyError("index")


def test_an_error_while_it_is_prepared_names_the_line(tmp_path: Path) -> None:
    data = opened(Forgets, tmp_path)
    with pytest.raises(
        DataError, match=r"`prepare` failed: KeyError: 'index' \(test_watched\.py:\d+ in prepare\)"
    ):
        data.prepare(Silent())
