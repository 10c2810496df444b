"""`data prepare`: convert published archives and raw sources to files that the loaders read.

Nothing is downloaded.
"""
