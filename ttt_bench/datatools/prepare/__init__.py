"""`data prepare`: from published archives and raw sources to what the loaders read. Nothing is
downloaded.
"""
