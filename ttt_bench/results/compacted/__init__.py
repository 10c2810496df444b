"""A compacted copy of the manifests and rows of a results folder, which is read quickly.

    compacted/cells-<hash>.parquet  manifests, one line per cell
    compacted/rows-<hash>.parquet   their rows

Two such files are a *part*; `<hash>` is that of the content. A cell is read from a part if its
files have the sizes and modification times that they had when the part was written. All other cells
are read and verified, and if there are many, they are written to a new part. Everything is made
from the cells, so the folder can be removed at any time.
"""
