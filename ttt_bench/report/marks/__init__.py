"""Marks on rows, and their notes: unlike conditions, and doubts about a method."""
