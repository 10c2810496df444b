"""Tests with many cases, of which the suite runs some."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def short_form(cases: Iterable[str], short: Collection[str]) -> list[Any]:
    """Return the cases of a test as parameters; `nox -s slow` alone runs those not in `short`."""
    return [pytest.param(case, marks=() if case in short else pytest.mark.slow) for case in cases]
