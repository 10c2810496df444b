"""The code of plugins: which files it consists of, and their digests."""
