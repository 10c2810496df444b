"""Synchronisation of the tasks of each row of a comparison, with intervals and differences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ttt_bench.analysis.evidence import (
    BASE,
    ESTIMATE_COLUMNS,
    FROZEN,
    Evidence,
    Side,
    corrected,
    difference,
    frozen_controls,
    own,
)
from ttt_bench.analysis.images import images_of
from ttt_bench.analysis.replicates import Chosen, replicated_parts
from ttt_bench.analysis.verdicts import OPEN, judged
from ttt_bench.stats.bootstrap import REPLICATES, weights
from ttt_bench.stats.synchronisation import LOWER_IS_IN_STEP, MEASURES, RANGES, flat_tasks, measures

COLUMNS = ("label", "reference", "reference_label", *ESTIMATE_COLUMNS, "p_holm", "verdict")
"""Columns of `synchronisation`."""

MOST_REPLICATED, FEWEST_DRAWS = 30_000, 20
"""Most replicates times cells, which take about 3 s with 10 steps, and fewest replicates."""


def synchronisation(evidence: Evidence) -> pd.DataFrame:
    """Return the measures of every row, and the difference of each method to its frozen control.

    Base, which does not adapt, has none.

    Returns:
        Columns `COLUMNS`; `quantity` is one of `stats.synchronisation.MEASURES`. `reference` is
        empty for the mean over seeds of a row, and `frozen` for a difference. A mean has no `p`,
        and its interval ends where the range of the measure does. `p_holm` is corrected over the
        rows of each measure. `verdict` is 1 if a method is shown to be more synchronous than its
        frozen control, -1 if less. Undefined measures are missing.
    """
    found = synchronised(evidence)
    estimates = [
        _in_range(own(Side(found, label))).assign(label=label, reference="", reference_label="")
        for label, method in evidence.comparison.methods.items()
        if method != BASE
    ]
    differences = [
        difference(Side(found, label), Side(found, frozen)).assign(
            label=label, reference=FROZEN, reference_label=frozen
        )
        for label, frozen in frozen_controls(evidence.comparison).items()
        if evidence.comparison.methods[label] != BASE
    ]
    kept = [frame for frame in (*estimates, *differences) if len(frame)]
    if not kept:
        return pd.DataFrame(columns=list(COLUMNS))
    frame = corrected(pd.concat(kept, ignore_index=True), ["reference", "quantity"])
    verdict = judged(frame, frame["quantity"].isin(LOWER_IS_IN_STEP))
    return frame.assign(verdict=verdict.where(frame["reference"] == FROZEN, OPEN))[list(COLUMNS)]


def _in_range(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return estimates of measures with intervals that are in the range of each measure."""
    ends = pd.DataFrame(RANGES, index=["lowest", "highest"]).T
    lowest, highest = (estimates["quantity"].map(ends[end]) for end in ends)
    return estimates.assign(
        low=estimates["low"].clip(lower=lowest),
        high=estimates["high"].clip(upper=highest),
        p=np.nan,
    )


def draws(cells: int) -> int:
    """Return the number of replicates for a number of cells: 1000, and fewer for many cells.

    The measures need the scores at all steps of each replicate. The half-width that is due to
    images has a relative standard error of about 1 / sqrt(2 R) with R replicates.
    """
    return max(FEWEST_DRAWS, min(REPLICATES, MOST_REPLICATED // max(cells, 1)))


def synchronised(evidence: Evidence) -> Chosen:
    """Return the measures of every cell, observed and in replicates, in place of its scores."""
    observed = evidence.observed
    images = images_of(evidence.comparison, observed)
    flat = flat_tasks(observed)
    replicates = None
    if images.units:
        drawn = weights(images.units, draws(len(observed.cells)))
        parts = replicated_parts(drawn, images, observed, evidence.comparison.base)
        again = [measures(cells, flat[part]) for part, cells in parts]
        # parts of the cells: (R, C, M)
        replicates = np.concatenate(again, axis=1)
    return Chosen(
        cells=observed.cells,
        quantities=MEASURES,
        steps=observed.last,
        values=measures(observed, flat),
        replicates=replicates,
        units=images.units,
    )
