"""Texts escaped for LaTeX."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain

from ttt_bench.report.tables import DASH, DOWN, UP

DELTA = "Delta_TTT"
"""The text that is printed as a symbol."""
_SIGNS = {
    "\u00a0": "~",
    "\u200b": "\\allowbreak{}",
    "\\": "\\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "`": "\\textasciigrave{}",
    '"': "''",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "*": "$^*$",
    UP: "$\\uparrow$",
    DOWN: "$\\downarrow$",
    DASH: "--",
    "—": "---",
    "→": "$\\to$",
    "±": "$\\pm$",
    "−": "$-$",
    "×": "$\\times$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
    "α": "$\\alpha$",
    "†": "$^\\dagger$",
    "‡": "$^\\ddagger$",
    "§": "$^\\S$",
    "▼": "$^\\blacktriangledown$",
    "²": "$^2$",
    "°": "$^\\circ$",
    "’": "'",
    "‘": "\\textquoteleft{}",
    "“": "``",
    "”": "''",
}
_ACCENTS = {
    "\u0300": "\\`",
    "\u0301": "\\'",
    "\u0302": "\\^",
    "\u0303": "\\~",
    "\u0308": '\\"',
    "\u030a": "\\r",
    "\u030c": "\\v",
    "\u0327": "\\c",
}
"""The command of each combining accent."""
_SYMBOLS = "\\blacktriangledown"
"""The command of the package amssymb."""
_MARKED = re.compile(r"`([^`]+)`|(?<![\w*])\*(\w[^*]*\w)\*(?![\w*])")
"""Code and emphasis in the Markdown of notes."""
_LONG, _BREAK = re.compile(r"\S{25,}"), re.compile(r"(?<=[,/=:;])")
"""Words that may be wider than a column, and where they may be divided."""
UNKNOWN = "?"
"""Printed for a sign that LaTeX may not know."""


def latex(text: str) -> str:
    """Return a text escaped for LaTeX, in ASCII, with Delta_TTT as a symbol."""
    # without the group, TeX joins the two hyphens of an option to a dash
    hyphens = re.split("(?<=-)(?=-)", text)
    escaped = "{}".join("".join(map(_escaped, part)) for part in hyphens)
    return escaped.replace(DELTA.replace("_", "\\_"), "$\\Delta_{\\mathrm{TTT}}$")


def prose(text: str) -> str:
    """Return the text of a note escaped for LaTeX, with its code and emphasis set as such."""
    divided = _LONG.sub(lambda word: _BREAK.sub("\u200b", word[0]), text)
    parts = _MARKED.split(divided)
    plain, code, emphasis = parts[::3], parts[1::3], parts[2::3]
    marked = [
        f"\\texttt{{{latex(one)}}}" if one else f"\\emph{{{latex(other)}}}"
        for one, other in zip(code, emphasis, strict=True)
    ]
    pairs = zip(map(latex, plain), [*marked, ""], strict=True)
    return "".join(chain.from_iterable(pairs))


def _escaped(sign: str) -> str:
    """Return a sign for LaTeX; a letter with an accent as a command with the letter."""
    if sign in _SIGNS or sign.isascii():
        return _SIGNS.get(sign, sign)
    letter, *accents = tuple(unicodedata.normalize("NFKD", sign))
    if letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        return f"{_ACCENTS[accents[0]]}{{{letter}}}"
    return UNKNOWN


def packages(text: str) -> str:
    """Return the packages that a table or a note needs, joined by commas."""
    return "booktabs,amssymb" if _SYMBOLS in text else "booktabs"


def clean_label(label: str) -> str:
    """Return a label of letters, digits, hyphens, points and colons."""
    return re.sub(r"[^A-Za-z0-9.:]+", "-", label)
