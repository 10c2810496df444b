"""Tables over several comparisons, and against published ranks."""
