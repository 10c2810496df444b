"""Figures: curves over adaptation steps, and example images."""
