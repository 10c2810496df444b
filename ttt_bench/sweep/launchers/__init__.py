"""Launchers: how the worker processes of a sweep are started."""
