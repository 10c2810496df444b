"""PASCAL-Context in its multi-task form from its files."""
