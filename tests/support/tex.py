"""LaTeX files set by pdflatex in a two-column document like those of CVPR."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = r"""\documentclass[10pt,twocolumn,letterpaper]{article}
\usepackage{times}
\usepackage{PACKAGES}
\setlength{\textwidth}{6.875in}
\setlength{\textheight}{8.875in}
\setlength{\columnsep}{0.3125in}
\setlength{\topmargin}{0in}
\setlength{\headheight}{0in}
\setlength{\headsep}{0in}
\setlength{\oddsidemargin}{-0.1875in}
\begin{document}
BODY
\end{document}
"""
_PACKAGES = re.compile(r"% .*needs \\usepackage\{([^}]*)\}")
_FAULTS = re.compile(
    r"^(?:Overfull .*|.*Float too large.*|! .*|Missing character.*|.*Too many unprocessed.*|"
    r".*multiply defined.*|FILE .*)$",
    re.MULTILINE,
)


def missing_program() -> str:
    """Return what is missing to set documents, or an empty text."""
    return "" if shutil.which("pdflatex") else "pdflatex is not installed"


@dataclass(frozen=True)
class Typeset:
    """A document that was set.

    Attributes:
        faults: map the name of a file to the warnings and errors of its content.
        labels: the labels of the tables that are in the document.
        pages: number of pages.
        log: the whole log.
    """

    faults: dict[str, list[str]]
    labels: set[str]
    pages: int
    log: str


def typeset(folder: Path, texts: Mapping[str, str]) -> Typeset:
    """Set a document that inputs these files, each of them on new pages.

    Args:
        folder: an empty folder.
        texts: map the names of the files, which may have folders, to their contents.
    """
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    body = "\n".join(
        f"\\typeout{{FILE {name}}}Text.\n\n\\input{{{name}}}\n\nText.\\clearpage" for name in texts
    )
    return run(folder, document(body, texts.values()))


def document(body: str, texts: Iterable[str]) -> str:
    """Return a document that loads only the packages that the texts name."""
    found = (match for text in texts for match in _PACKAGES.findall(text))
    packages = sorted({name for names in found for name in names.split(",")})
    return DOCUMENT.replace("PACKAGES", ",".join(packages or ["booktabs"])).replace("BODY", body)


def run(folder: Path, text: str) -> Typeset:
    """Set a document in a folder."""
    (folder / "document.tex").write_text(text, encoding="utf-8")
    command = ("pdflatex", "-interaction=nonstopmode", "document.tex")
    subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    # TeX breaks lines of its log after 79 characters, which here only shortens messages
    log = (folder / "document.log").read_text(encoding="latin-1")
    pages = re.search(r"Output written on document.pdf \((\d+) pages?", log)
    auxiliary = (folder / "document.aux").read_text(encoding="latin-1")
    return Typeset(
        faults=_by_file(_FAULTS.findall(log)),
        labels=set(re.findall(r"\\newlabel\{([^}]*)\}", auxiliary)),
        pages=int(pages.group(1)) if pages else 0,
        log=log,
    )


def _by_file(lines: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if line.startswith("FILE "):
            name = line.removeprefix("FILE ")
        else:
            found.setdefault(name, []).append(line)
    return found
