"""Taskonomy (tiny) from its files, in any of the folder layouts that are about."""
