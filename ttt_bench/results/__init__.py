"""Results folders: their schema, how cells are written and read, and the published numbers."""
