"""Check, join, pack and tidy results folders. Imports no torch."""
