"""Samples as arrays: reading, resizing, augmenting, normals."""
