"""The reference methods, one file each."""
