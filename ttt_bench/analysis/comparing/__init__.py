"""Comparisons between rows and between results folders."""
