"""Checking, preparing and showing data; a run needs none of it."""
