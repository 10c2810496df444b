"""NYUD-v2 in its multi-task form from its files, in either of the releases that are about."""
