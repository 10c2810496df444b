"""The analysis of stored results: replicates, intervals, differences, and `open_results`."""
