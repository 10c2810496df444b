"""The table of step rules and its notes."""
