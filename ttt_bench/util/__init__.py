"""Shared leaves: files, hashes, seeds, progress, interrupts."""
