"""NYUD-v2's colour camera, and the crop to the depth sensor's field of view. Imports no torch.

Source: the calibration that the data set's toolbox publishes.
"""

from __future__ import annotations

FOCAL = (518.858, 519.470)
"""Horizontal and vertical focal lengths in pixels."""
CENTRE = (325.582, 253.736)
"""The principal point (x, y) of whole frames, 480x640."""
CROP = (slice(45, 470), slice(40, 600))
"""Rows and columns of whole frames that are in the published frames."""
