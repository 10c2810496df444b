"""NYUD-v2's colour camera, and the crop that removes the border which its depth sensor does not
see. Imports no torch.

Source: the calibration that the data set's toolbox publishes.
"""

from __future__ import annotations

FOCAL = (518.858, 519.470)
"""Focal lengths in pixels, across and down."""
CENTRE = (325.582, 253.736)
"""The principal point (x, y) of whole frames, 480x640."""
CROP = (slice(45, 470), slice(40, 600))
"""Rows and columns of whole frames that the published frames have."""
