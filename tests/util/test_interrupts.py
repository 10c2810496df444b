"""Signals that stop a run are deferred; ignored ones and those of the program are left alone."""

from __future__ import annotations

import signal

import pytest

from ttt_bench.util.interrupts import SIGNALS, held_interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_recorded_and_the_second_stops(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with held_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_an_ignored_signal_and_a_handler_of_the_program_stay() -> None:
    seen: list[int] = []
    usr1 = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with held_interrupts() as interrupted:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGUSR1, usr1)
        signal.signal(signal.SIGHUP, hup)
    assert seen == [signal.SIGUSR1]
