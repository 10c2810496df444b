"""Taskonomy (tiny) from its files, in any of its common folder layouts."""
