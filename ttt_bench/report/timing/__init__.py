"""The tables of inference times."""
