"""Files that carry a digest of their content, which is verified when they are read."""
