"""Widths of texts in Times, the type of most two-column papers."""

from __future__ import annotations

from ttt_bench.report.formats.latex.text import DELTA

SYMBOL = "\x00"
"""The sign that replaces the text of Delta_TTT."""

_TEXT = {
    0.25: " \u00a0.,",
    0.28: "/:;ijlt",
    0.34: "!'()-Ifr[]~^",
    0.40: "Js",
    0.45: '?acez"',
    0.51: "#$_0123456789bdghknopquvxy–",
    0.57: "FPS=",
    0.62: "ELTZ",
    0.68: "BCR",
    0.73: "ADGHKNOQUVXYw",
    0.79: "&m",
    0.93: "%MW@",
}
"""The signs of each width, in units of the size of the type."""
_SYMBOLS = {
    0.31: "|",
    0.53: "†‡",
    0.58: "\\`{}↑↓§°²*",
    0.69: "▼",
    0.70: "α",
    0.84: "−±<>≤≥×",
    1.07: "→",
    2.95: SYMBOL,
}
"""The signs that LaTeX takes from its mathematical type, whose shapes are wider in small sizes."""
_WIDTHS = {sign: width for width, signs in _TEXT.items() for sign in signs}
_SYMBOL_WIDTHS = {sign: width for width, signs in _SYMBOLS.items() for sign in signs}
_WIDEST = max(_WIDTHS.values())
_BOLD = 1.06
"""Width of bold text relative to plain text."""
_FULL, _GROWTH = 8.0, 0.09
"""Size from which symbols keep their shape, and how much wider they are per point below it."""


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about the width of a text, which is not escaped, in points.

    Args:
        size: size of the type in points.
    """
    growth = 1 + _GROWTH * max(0.0, _FULL - size)
    units = 0.0
    for sign in text.replace(DELTA, SYMBOL):
        symbol = _SYMBOL_WIDTHS.get(sign)
        units += _WIDTHS.get(sign, _WIDEST) if symbol is None else symbol * growth
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
