"""Read and check what a person has written."""
