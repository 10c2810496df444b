"""Designs of experiments: what they vary, what they show, and how they choose."""
