"""What stands below a table: how its numbers came about, in words, from manifests and rows
alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ttt_bench.results.published import STEPS, PublishedTable
from ttt_bench.stats.comparison import Comparison, mark

ONLINE_STEP_ZERO = (
    "step 0 of a batch is the state that the batches before it left, and so is not Base"
)

PROTOCOLS = {
    "online": "online: one pass over the target, never reset; on each batch the method adapts and is then scored. "
    f"Steps are within a batch: a run of fewer steps is no prefix of this one, and {ONLINE_STEP_ZERO}",
    "episodic": "episodic: the model is reset before each batch, adapts on it and is then scored on it",
    "single-batch": "single-batch: the method adapts on the first batch alone, and the whole target is scored",
}

STATES = {"diverged": "diverged", "failed": "failed", "not_applicable": "not applicable"}
"""States of cells without numbers, as they are printed."""

Note = tuple[str, str]


def run_notes(comparison: Comparison) -> list[Note]:
    """Protocol, data, optimisers and scoring of a comparison, and what is missing from it."""
    cells, key = comparison.cells, comparison.key
    notes = [
        *others_notes(comparison),
        ("Protocol", PROTOCOLS.get(key.protocol, key.protocol)),
        *_images(comparison),
    ]
    notes += _own_source_models(comparison)
    notes += [("Optimisers", "; ".join(optimisers(comparison)))] if len(comparison.rows) else []
    notes += _scoring(comparison)
    missing = missing_cells(comparison)
    notes += [("Missing", "; ".join(missing))] if missing else []
    if comparison.base is None and len(comparison.rows):
        notes.append(
            (
                "No Base",
                "Base was not run here, so there is neither a Delta_TTT nor an oracle step; run base too",
            )
        )
    notes += [("Cells", note) for note in comparison.notes]
    notices = _distinct(
        notice for manifest in cells["manifest"] for notice in manifest.get("notices") or []
    )
    return notes + [("Notice", notice) for notice in notices]


def others_notes(comparison: Comparison) -> list[Note]:
    """That comparisons of other data or another source model have the same names, where there
    are any.
    """
    if not comparison.others:
        return []
    several = len(comparison.others) > 1
    return [
        (
            "Not to be compared",
            f"{'other comparisons' if several else 'another comparison'} in this folder "
            f"({', '.join(comparison.others)}; this one is {mark(comparison.key)}) {'have' if several else 'has'} the "
            f"same names but other data or another source model: do not compare {'their' if several else 'its'} "
            "numbers with these",
        )
    ]


def seeds_note(comparison: Comparison) -> Note:
    """Which seeds stand behind means, and what the spread is."""
    seeds = sorted(comparison.rows["seed"].unique())
    if len(seeds) == 1:
        return (
            "Seeds",
            f"{seeds[0]} alone, so there is no spread: a difference between two rows may be chance",
        )
    return (
        "Seeds",
        f"{', '.join(map(str, seeds))}; numbers are mean ± sample standard deviation over seeds",
    )


def missing_cells(comparison: Comparison) -> list[str]:
    """Each cell without numbers, with the reason: 'tent, seed 1: diverged: ...'; seeds with one
    reason together.
    """
    without = comparison.cells[comparison.cells["state"] != "done"]
    grouped: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for label, state, reason, seed in zip(
        without["label"].tolist(),
        without["state"].tolist(),
        without["reason"].tolist(),
        without["seed"].tolist(),
        strict=True,
    ):
        grouped[label, STATES.get(state, state), reason].append(seed)
    return [
        f"{label}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: {state}{f': {reason}' if reason else ''}"
        for (label, state, reason), seeds in grouped.items()
    ]


def optimisers(comparison: Comparison) -> list[str]:
    """Rows that share an optimiser, with its settings: 'tent, tipi: SGD, learning rate 2e-05'."""
    users: dict[str, list[str]] = defaultdict(list)
    done = comparison.cells[comparison.cells["state"] == "done"]
    for label, control, manifest in zip(
        done["label"], done["control"], done["manifest"], strict=True
    ):
        words = describe_optimiser(manifest.get("optimiser") or {})
        if control == "frozen":
            words += ", run with learning rate 0 (frozen control)"
        if label not in users[words]:
            users[words].append(label)
    return [f"{', '.join(labels)}: {words}" for words, labels in users.items()]


def describe_optimiser(settings: Mapping[str, Any]) -> str:
    """An optimiser's settings in words; those that do nothing are left out."""
    rest = dict(settings)
    name = rest.pop("optimiser", None)
    if name is None:
        return "no optimiser"
    words = [str(name).upper() if name == "sgd" else str(name).capitalize()]
    if "lr" in rest:
        per_sample = " times the batch size" if rest.pop("lr_per_sample", False) else ""
        words.append(f"learning rate {rest.pop('lr'):g}{per_sample}")
    betas = [rest.pop("beta1", None), rest.pop("beta2", None)]
    if name != "sgd" and None not in betas:
        words.append(f"betas {betas[0]:g} and {betas[1]:g}")
    if rest.pop("nesterov", False):
        words.append("Nesterov")
    words += [
        f"{key.replace('_', ' ')} {value:g}"
        for key, value in rest.items()
        if isinstance(value, int | float) and value
    ]
    return ", ".join(words)


def published_notes(
    comparison: Comparison, published: PublishedTable, methods: Sequence[str]
) -> list[Note]:
    """Where the published numbers come from, how this run differs from theirs, and what is known
    against them.
    """
    text = f"{published.name}: mean ± standard deviation as printed, at the step with the best average Delta_TTT"
    differences = _unlike_published(comparison)
    if differences:
        small = comparison.key.preset != "paper"
        so = (
            "the two are not comparable"
            if small
            else "a difference between the two need not come from the methods"
        )
        text += f". This run was made in another way: {'; '.join(differences)}; so {so}"
    flags = [
        f"{row.method}: {row.flag}" for row in published.rows if row.flag and row.method in methods
    ]
    return [
        ("Published", text),
        *[("† Published", flag) for flag in flags],
        *[("Published", note) for note in published.notes],
    ]


def _unlike_published(comparison: Comparison) -> list[str]:
    """In what a comparison differs from the published runs, a clause each."""
    key, cells = comparison.key, comparison.cells
    clauses = []
    if key.preset != "paper":
        clauses.append(f"its preset is {key.preset}, not paper")
    if key.data_variant != "official":
        clauses.append(
            f"the data handling differs ({key.data_variant}, where the published one is official)"
        )
    if key.protocol != "online":
        clauses.append(f"its protocol is {key.protocol}, not online")
    if key.hparams != "paper":
        clauses.append(f"its hyperparameters are {key.hparams}, not the common ones of the paper")
    if key.settings:
        clauses.append(f"settings were changed ({key.settings.replace('; ', ', ')})")
    steps = set(cells.loc[(cells["method"] != "base") & (cells["state"] == "done"), "steps"])
    others = sorted(steps - {STEPS})
    if others:
        who = "some rows adapt" if STEPS in steps else "methods adapt"
        clauses.append(f"{who} for {' or '.join(map(str, others))} steps, not {STEPS}")
    return clauses


def _images(comparison: Comparison) -> list[Note]:
    counts = sorted(comparison.rows["n"].unique())
    if not counts:
        return []
    return [
        (
            "Images",
            f"{counts[0]} of the target"
            + (f" in some rows, {counts[-1]} in others" if counts[1:] else ""),
        )
    ]


def _own_source_models(comparison: Comparison) -> list[Note]:
    cells = comparison.cells
    models = [manifest.get("source_model") or "base" for manifest in cells["manifest"]]
    labels = _distinct(
        label for label, model in zip(cells["label"], models, strict=True) if model != "base"
    )
    return [("Own source model", ", ".join(labels))] if labels else []


def _scoring(comparison: Comparison) -> list[Note]:
    """A note for every entry of the manifests' `scoring`; what cells say differently stands side
    by side.
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for manifest in comparison.cells["manifest"]:
        for name, text in (manifest.get("scoring") or {}).items():
            texts[name.replace("_", " ")].append(str(text))
    return [
        ("Scoring", f"{name}: {' | or: '.join(_distinct(said))}") for name, said in texts.items()
    ]


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))
