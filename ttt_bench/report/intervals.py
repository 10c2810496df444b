"""`intervals.csv`: every estimate and every paired difference of a comparison."""

from __future__ import annotations

import pandas as pd

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.verdicts import verdicts
from ttt_bench.report.columns import quantity_key

FIRST = ("selection", "label", "reference", "reference_label", "quantity")


def intervals_csv(evidence: Evidence) -> str:
    """Return a line per rule, row, reference and quantity, in full precision.

    `reference` is empty for an estimate of the row itself. `seed_N` is the value of seed N.
    """
    differences = evidence.all_differences()
    differences = differences.assign(verdict=verdicts(differences))
    found = pd.concat([evidence.all_estimates(), differences], ignore_index=True)
    per_seed = pd.DataFrame(found["values"].tolist(), index=found.index)
    per_seed = per_seed.sort_index(axis=1).add_prefix("seed_")
    numbers = found.drop(columns=[*FIRST, "values"])
    first = found[list(FIRST)].assign(quantity=found["quantity"].map(quantity_key))
    return pd.concat([first, numbers, per_seed], axis=1).to_csv(index=False)
