"""Results of several comparisons next to each other, and against published ranks."""
