"""Notes below the tables: how the numbers were computed, and how to read them."""
