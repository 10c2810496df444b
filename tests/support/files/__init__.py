"""Writers of small data sets in the real formats."""
