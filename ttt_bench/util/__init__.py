"""Helpers that every layer may use: files, hashes, seeds, text, progress, interrupts."""
