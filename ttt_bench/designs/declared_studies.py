"""The studies that come with the package: one TOML file per study in `declared/`."""

from __future__ import annotations

import tomllib
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path

from ttt_bench.designs.study import Study, read_study, study_from
from ttt_bench.errors import BenchError, unknown
from ttt_bench.util.paths import user_path

STUDIES = (
    "main",
    "components",
    "masking",
    "mask-ratio",
    "single-task",
    "noise",
    "affinity",
    "tbs-loss",
    "sync",
    "timing",
    "strong-baseline",
)
"""Names of the studies, in the order in which `study all` runs them."""
ALL = "all"


@cache
def declared(name: str) -> Study:
    """Return a study that comes with the package, by its name."""
    path = files(__package__).joinpath("declared", f"{name}.toml")
    return study_from(name, tomllib.loads(path.read_text(encoding="utf-8")), f"study {name}")


def find_study(text: str) -> Study:
    """Return a study by its name or by the path of its TOML file.

    Raises:
        BenchError: no study has this name, or the file is missing or invalid.
    """
    if text in STUDIES:
        return declared(text)
    if text.endswith(".toml") or len(Path(text).parts) > 1:
        study = read_study(user_path(text))
        if study.name in STUDIES:
            raise BenchError(
                f"study {text}: {study.name!r} is the name of a study of the package; give it "
                "another name with the entry `name`"
            )
        return study
    raise unknown("study", text, (*STUDIES, ALL, "rate", "FILE.toml"))


def find_studies(names: tuple[str, ...]) -> tuple[Study, ...]:
    """Return several studies, each once; `all` means every study of the package.

    Raises:
        BenchError: a study is unknown or invalid.
    """
    listed = [one for name in names for one in (STUDIES if name == ALL else (name,))]
    found = tuple(find_study(name) for name in dict.fromkeys(listed))
    counts = Counter(study.name for study in found)
    several = [name for name, count in counts.items() if count > 1]
    if several:
        raise BenchError(
            f"{', '.join(several)}: several files declare a study of this name; give each another "
            "name with the entry `name`"
        )
    return found
