"""The order of the methods in tables and listings."""

METHOD_ORDER = (
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
"""Names in the order of the rows of the papers' tables. Other methods follow, sorted by name."""
