"""Data sets that a file `dataset.toml` describes, without code."""
