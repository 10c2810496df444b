"""Predict how long work takes from the times of similar work. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from statistics import median

from ttt_bench.results.timed_work import TimedWork, Work

NEWEST = 5
"""Number of equally similar times that a prediction is the median of: the newest ones."""


@dataclass(frozen=True)
class Prediction:
    """How long a piece of work takes.

    Attributes:
        work: the work.
        similar: the times that predict it best; empty if it cannot be predicted.
    """

    work: Work
    similar: tuple[TimedWork, ...]

    @property
    def seconds(self) -> float | None:
        """The median of the times, scaled to the amount of work; None without any."""
        if not self.similar:
            return None
        return median(
            one.fixed + one.seconds * self.work.units / one.work.units for one in self.similar
        )


def predict(work: Work, timed: Iterable[TimedWork], host: str) -> Prediction:
    """Return how long work takes, predicted from work of the same kind and needs.

    Times of this machine come first, then those with the same first conditions of `Work.likes`,
    then those of the nearest amount of work, then the newest.

    Args:
        work: the work.
        timed: all times.
        host: name of the machine that the prediction is for.
    """
    usable = [
        (_similarity(work, one, host), one)
        for one in timed
        if one.work.kind == work.kind and one.work.needs == work.needs
    ]
    best = max((similarity for similarity, _ in usable), default=())
    found = [one for similarity, one in usable if similarity == best]
    return Prediction(work, tuple(sorted(found, key=_finished)[-NEWEST:]))


def _similarity(work: Work, timed: TimedWork, host: str) -> tuple[float, ...]:
    likes = timed.work.likes
    shared = (likes.get(name) == value for name, value in work.likes.items())
    return (timed.host == host, *shared, -abs(log(timed.work.units / work.units)))


def _finished(timed: TimedWork) -> str:
    return timed.finished


@dataclass(frozen=True)
class Forecast:
    """How long the pending work of a plan takes.

    Attributes:
        predictions: name of a part of the plan, such as a cell's hash -> its pending work.
        host: name of the machine that the forecast is for.
    """

    predictions: Mapping[str, Sequence[Prediction]]
    host: str

    def seconds(self, name: str) -> float | None:
        """Return the seconds of a part; None if it is not pending, or not all can be predicted."""
        found = [prediction.seconds for prediction in self.predictions.get(name, ())]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if known and len(known) == len(found) else None

    @property
    def known(self) -> float:
        """Seconds of all work that can be predicted."""
        return sum(prediction.seconds or 0.0 for prediction in self._all())

    @property
    def unknown(self) -> Counter[str]:
        """Kind of work that cannot be predicted -> number of times that it is pending."""
        return Counter(one.work.kind for one in self._all() if not one.similar)

    @property
    def similar(self) -> list[TimedWork]:
        """The times that the predictions are made from, each once."""
        found = (timed for prediction in self._all() for timed in prediction.similar)
        return list({id(timed): timed for timed in found}.values())

    @property
    def elsewhere(self) -> bool:
        """Whether some of the times are of other machines."""
        return any(timed.host != self.host for timed in self.similar)

    def _all(self) -> list[Prediction]:
        return [prediction for part in self.predictions.values() for prediction in part]


def forecast(
    pending: Mapping[str, Sequence[Work]], timed: Sequence[TimedWork], host: str
) -> Forecast:
    """Return how long pending work takes.

    Args:
        pending: name of a part of the plan, such as a cell's hash -> its work.
        timed: the times of earlier work.
        host: name of the machine that the forecast is for.
    """
    predictions = {
        name: tuple(map(partial(predict, timed=timed, host=host), works))
        for name, works in pending.items()
    }
    return Forecast(predictions, host)
