"""The code of plugins: the files it consists of, their digests, and the places of its errors."""
