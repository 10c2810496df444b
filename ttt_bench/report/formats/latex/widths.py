"""Widths of texts in Times, the type of most two-column papers."""

from __future__ import annotations

from ttt_bench.report.formats.latex.text import DELTA

_GROUPS = {
    0.20: "|",
    0.25: " \u00a0.,",
    0.28: "/:;\\ijlt",
    0.34: "!'()-Ifr[]`",
    0.40: 'Js"',
    0.45: "?acez^°²†‡*▼",
    0.51: "#$_0123456789bdghknopquvxy–§↑↓",
    0.57: "FPS{}<>=~≤≥α×",
    0.62: "ELTZ",
    0.68: "BCR",
    0.73: "ADGHKNOQUVXYw",
    0.79: "&m−±",
    0.93: "%MW@",
    1.00: "→",
}
"""The signs of each width, in units of the size of the type."""
_WIDTHS = {sign: width for width, signs in _GROUPS.items() for sign in signs}
_WIDEST = max(_WIDTHS.values())
_DELTA = 2.5
"""The width of the symbol of Delta_TTT."""
_BOLD = 1.06
"""Width of bold text relative to plain text."""


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about the width of a text, which is not escaped, in points.

    Args:
        size: size of the type in points.
    """
    symbols = text.count(DELTA)
    plain = text.replace(DELTA, "")
    units = sum(_WIDTHS.get(sign, _WIDEST) for sign in plain) + symbols * _DELTA
    return units * size * (_BOLD if bold else 1.0)


def lines_of(text: str, size: float, limit: float) -> list[str]:
    """Return a text in lines of words that are at most `limit` points wide if words allow it."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, size) <= limit:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
