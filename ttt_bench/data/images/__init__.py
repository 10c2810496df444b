"""Images with their targets as arrays: reading, resizing, augmenting, normals."""
