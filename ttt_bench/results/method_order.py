"""The order and the groups of the methods in tables and listings."""

PAPERS = (
    "base",
    "norm",
    "tent",
    "tipi",
    "ttt",
    "tttpp",
    "tttflow",
    "clust3",
    "actmad",
    "nc_ttt",
    "s4t",
)
"""Names in the order of the rows of the papers' tables."""
MORE = ("eata", "sar", "cotta", "memo", "rotta")
"""Further methods of this package, which the papers do not compare."""
METHOD_ORDER = (*PAPERS, *MORE)
"""The order in tables. Methods of other packages follow, sorted by name."""
