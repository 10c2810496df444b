"""Looks that take long are rare."""

from __future__ import annotations

from typing import Any

import pytest

from ttt_bench.sweep.shared import pace
from ttt_bench.sweep.shared.pace import Pace


@pytest.mark.parametrize(("duration", "wait"), [(0.01, 1.0), (2.0, 40.0)])
def test_repetitions_take_at_most_their_share(
    monkeypatch: pytest.MonkeyPatch, duration: float, wait: float
) -> None:
    now = [100.0]
    clock: Any = type("clock", (), {"monotonic": staticmethod(lambda: now[0])})
    monkeypatch.setattr(pace, "time", clock)
    looks = Pace(seconds=1.0, share=0.05)
    assert looks.due
    with looks.timed():
        now[0] += duration
    now[0] += 0.99 * wait
    assert not looks.due
    now[0] += 0.02 * wait
    assert looks.due
