"""Results whose changes have known parts."""

from __future__ import annotations

from pathlib import Path

from support.synthetic import add_cell, gains


def small(root: Path) -> Path:
    """Write two seeds of base, norm, tent without a control, and s4t with its own source model.

    Parts in seeds 0 and 1, in percent of Base, at the last step:

    - norm: normalisation 5, 5;
    - tent: normalisation and updates 7, 8;
    - s4t: source training 2, -2; normalisation 7, 11; updates 1, 1.
    """
    still, own = {"optimiser": None}, {"source_model": "s4t"}
    for seed in (0, 1):
        add_cell(root, "base", gains(0, 0, 0), config=f"b{seed}", seed=seed, manifest=still)
        add_cell(root, "norm", gains(5, 5, 5), config=f"n{seed}", seed=seed, manifest=still)
        add_cell(root, "tent", gains(5, 6, 7 + seed), config=f"t{seed}", seed=seed)
        scores = {task: values[0] for task, values in gains(2 - 4 * seed).items()}
        about = {**own, "own_source_scores": scores}
        add_cell(root, "s4t", gains(7, 11, 10), config=f"s{seed}", seed=seed, manifest=about)
        frozen = {"config": f"f{seed}", "seed": seed, "control": "frozen", "manifest": about}
        add_cell(root, "s4t", gains(7, 8, 9), **frozen)
    return root
