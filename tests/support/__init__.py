"""Helpers of the tests: toy methods, small files in the real formats, commands, second
implementations.
"""
