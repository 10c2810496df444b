"""Statistics over stored rows, in numpy and pandas."""
