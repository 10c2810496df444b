"""Signals of a batch's predictions at each step, from images and predictions, without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.results.schema import AGREEMENT, CHANGE

Predictor = Callable[[Tensor], Mapping[str, Tensor]]
"""Images (B, 3, H, W) -> task -> (B, K, H, W), after the scoring transform."""


class SignalMeter:
    """Measures the signals of one batch after another, step by step.

    Its results map `<signal>.<task>` (`schema.SIGNALS`) to float64 scalars on the device of the
    predictions, so that no step waits for a transfer.

    Args:
        predict: predicts mirrored images without an effect on later numbers; None to measure no
            agreement.
    """

    def __init__(self, predict: Predictor | None) -> None:
        self._predict = predict
        self._before: dict[str, Tensor] = {}
        self._mirrored: Mapping[str, Tensor] = {}
        self._found: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Begin with a batch: its first predictions have no earlier ones."""
        self._before = {}

    def look(self, images: Tensor) -> None:
        """Predict the mirror images, if the agreement is measured.

        The network must be in the state that makes the predictions of the step.
        """
        if self._predict is not None:
            self._mirrored = self._predict(images.flip(-1))

    @torch.no_grad()
    def measure(self, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the signals of a step after `look`; the change is NaN at a batch's first step.

        Args:
            predictions: task -> (B, K, H, W), after the scoring transform.
        """
        now = {task: measurement_of(task).compared(found) for task, found in predictions.items()}
        self._found = {f"{CHANGE}.{task}": self._change(task, one) for task, one in now.items()}
        self._found |= {
            f"{AGREEMENT}.{task}": _agreement(task, now[task], mirrored)
            for task, mirrored in self._mirrored.items()
        }
        self._before = now
        return self._found

    def repeated(self) -> dict[str, Tensor]:
        """Return the signals of a step that leaves the predictions as they are."""
        return {
            name: torch.zeros_like(value) if name.startswith(CHANGE) else value
            for name, value in self._found.items()
        }

    def _change(self, task: str, now: Tensor) -> Tensor:
        before = self._before.get(task)
        if before is None:
            return torch.full((), torch.nan, dtype=torch.float64, device=now.device)
        return measurement_of(task).difference(before, now).mean()


def _agreement(task: str, compared: Tensor, mirrored: Tensor) -> Tensor:
    """Return 1 minus the difference to the prediction of the mirror images, mirrored back."""
    measurement = measurement_of(task)
    back = measurement.compared(measurement.mirrored(mirrored))
    return 1 - measurement.difference(compared, back).mean()
