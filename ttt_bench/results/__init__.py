"""Results folders: schema, writing and reading of cells, and the published numbers."""
