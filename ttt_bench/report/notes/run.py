"""Notes below a table, made of manifests and rows: how the numbers were computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ttt_bench.report.frames import named_rows
from ttt_bench.report.settings.values import OPTIMISER_NAMES, settings_in_use
from ttt_bench.report.tables import Note
from ttt_bench.stats.comparison import Comparison, short_hash

STATES = {"diverged": "diverged", "failed": "failed", "not_applicable": "not applicable"}
"""States of cells without numbers, as they are printed."""


def run_notes(comparison: Comparison) -> list[Note]:
    """Return the notes on protocol, data, optimisers, scoring and missing cells."""
    return [
        *others_notes(comparison),
        Note("Protocol", comparison.protocol.note),
        *_images(comparison),
        *joined("Own source model", _own_source_models(comparison), ", "),
        *joined("Optimisers", optimisers(comparison), "; "),
        *joined("Tuned", tuned(comparison), "; "),
        *_scoring(comparison),
        *joined("Missing", missing_cells(comparison), "; "),
        *_no_base(comparison),
        *(Note("Cells", note) for note in comparison.notes),
        *(Note("Notice", notice) for notice in _notices(comparison)),
    ]


def others_notes(comparison: Comparison) -> list[Note]:
    """Return a warning about comparisons of the same names but other data, models or formats."""
    if not comparison.others:
        return []
    others, own = ", ".join(comparison.others), short_hash(comparison.key)
    text = (
        f"the folder has other comparisons of the same names ({others}; this one is {own}). Their "
        "data, source models or format (the number before a dash) differ: do not compare their "
        "numbers with these"
    )
    return [Note("Not comparable", text)]


def seeds_note(comparison: Comparison) -> Note:
    """Return the note that names the seeds and the measure of spread."""
    seeds = sorted(comparison.rows["seed"].unique())
    if len(seeds) == 1:
        text = f"{seeds[0]} only: another source model may give other differences"
        return Note("Seeds", text, (f"Seed {seeds[0]} only",))
    names = ", ".join(map(str, seeds))
    text = f"{names}; ± is the sample standard deviation over seeds"
    return Note("Seeds", text, (f"Means over seeds {names}", "±: standard deviation over seeds"))


def missing_cells(comparison: Comparison) -> list[str]:
    """Return a text per reason for the cells without numbers, with their rows and seeds.

    Examples: 'TENT, seed 1: diverged: loss not finite at step 3'; 'Base, seed 0; TENT, seeds 0, 1:
    failed: KeyError ... (traceback in FOLDER/attempts.json)'.
    """
    seeds: dict[tuple[str, str], dict[str, list[int]]] = {}
    folders: dict[tuple[str, str], str] = {}
    for cell in named_rows(comparison.missing):
        cause = (cell.state, cell.reason)
        name = comparison.names.of(cell.label)
        seeds.setdefault(cause, defaultdict(list))[name].append(cell.seed)
        folders.setdefault(cause, cell.folder)
    return [_missing(*cause, seeds=found, folder=folders[cause]) for cause, found in seeds.items()]


def _missing(state: str, reason: str, *, seeds: Mapping[str, list[int]], folder: str) -> str:
    rows = [f"{label}, {seeds_words(numbers)}" for label, numbers in seeds.items()]
    text = ": ".join(filter(None, ["; ".join(rows), STATES.get(state, state), reason]))
    return f"{text} (traceback in {folder}/attempts.json)" if state == "failed" else text


def seeds_words(numbers: list[int]) -> str:
    """Return seeds in words, such as `seeds 0, 2`."""
    word = "seed" if len(numbers) == 1 else "seeds"
    return f"{word} {', '.join(map(str, numbers))}"


def optimisers(comparison: Comparison) -> list[str]:
    """Return a text per optimiser, with the rows that use it.

    Example: 'TENT, TIPI: SGD, learning rate 2e-05'.
    """
    users: dict[str, list[str]] = defaultdict(list)
    done = comparison.done
    for cell in named_rows(done):
        words = describe_optimiser(cell.manifest.get("optimiser") or {})
        if cell.control == "frozen":
            words += ", run with learning rate 0 (frozen control)"
        users[words].append(comparison.names.of(cell.label))
    return [f"{', '.join(_distinct(labels))}: {words}" for words, labels in users.items()]


def tuned(comparison: Comparison) -> list[str]:
    """Return how learning rates were chosen, one text per record of `ttt-bench tune`."""
    origins = [manifest.get("tuned") for manifest in comparison.cells["manifest"]]
    return _distinct(_tuned_words(origin) for origin in origins if origin)


def _tuned_words(origin: Mapping[str, Any]) -> str:
    source, _, target = origin["pair"].partition(":")
    return (
        f"learning rates are the best of {origin['trials']} trials on {target}, seed "
        f"{origin['seed']} ({origin['images']} images of the split {origin['split']} of {source}; "
        f"record {origin['digest'][:6]})"
    )


def describe_optimiser(settings: Mapping[str, Any]) -> str:
    """Return an optimiser's settings in words, without those that have no effect."""
    name = settings.get("optimiser")
    if name is None:
        return "no optimiser"
    used = settings_in_use(settings)
    words = [OPTIMISER_NAMES.get(name, str(name))]
    if "lr" in used:
        words.append(_learning_rate(used))
    words += [*_rates(used), *_betas(used)]
    if used.get("nesterov"):
        words.append("Nesterov")
    return ", ".join(words + _other_settings(used))


def _learning_rate(settings: Mapping[str, Any]) -> str:
    per_sample = " times the batch size" if settings.get("lr_per_sample") else ""
    return f"learning rate {settings['lr']:g}{per_sample}"


def _rates(settings: Mapping[str, Any]) -> list[str]:
    """Return the learning rates of single parameters, as factors."""
    rates = settings.get("rates") or {}
    return [f"times {factor:g} for {pattern}" for pattern, factor in rates.items()]


def _betas(settings: Mapping[str, Any]) -> list[str]:
    betas = (settings.get("beta1"), settings.get("beta2"))
    return [] if None in betas else [f"betas {betas[0]:g} and {betas[1]:g}"]


def _other_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that no other text names and that are numbers other than 0."""
    named = ("optimiser", "lr", "lr_per_sample", "beta1", "beta2", "nesterov")
    words = []
    for key, value in settings.items():
        if key not in named and isinstance(value, int | float) and value:
            words.append(f"{key.replace('_', ' ')} {value:g}")
    return words


def _images(comparison: Comparison) -> list[Note]:
    counts = sorted(comparison.rows["n"].unique())
    if not counts:
        return []
    text = f"{counts[0]} of the target"
    if len(counts) > 1:
        text += f" in some rows, {counts[-1]} in others"
    return [Note("Images", text)]


def _own_source_models(comparison: Comparison) -> list[str]:
    """Return the names of the rows whose source model is not the common one."""
    cells = comparison.cells
    own = cells["manifest"].map(lambda manifest: manifest.get("source_model") or "base") != "base"
    return _distinct(map(comparison.names.of, cells.loc[own, "label"]))


def _no_base(comparison: Comparison) -> list[Note]:
    if comparison.base is not None or comparison.rows.empty:
        return []
    text = "Delta_TTT and the oracle step need Base, which was not run here: run base too"
    return [Note("No Base", text)]


def _scoring(comparison: Comparison) -> list[Note]:
    """Return a note per entry of the manifests' `scoring`; it gives every text that cells have."""
    texts: dict[str, list[str]] = defaultdict(list)
    for manifest in comparison.cells["manifest"]:
        for name, text in (manifest.get("scoring") or {}).items():
            texts[name.replace("_", " ")].append(str(text))
    joined = {name: " | or: ".join(_distinct(different)) for name, different in texts.items()}
    return [Note("Scoring", f"{name}: {text}") for name, text in joined.items()]


def _notices(comparison: Comparison) -> list[str]:
    notices: list[str] = []
    for manifest in comparison.cells["manifest"]:
        notices += manifest.get("notices") or []
    return _distinct(notices)


def joined(about: str, texts: list[str], separator: str) -> list[Note]:
    """Return one note of several texts; none without a text."""
    return [Note(about, separator.join(texts))] if texts else []


def _distinct(texts: Iterable[str]) -> list[str]:
    """Return the different texts in their order, without empty ones."""
    return list(dict.fromkeys(filter(None, texts)))
