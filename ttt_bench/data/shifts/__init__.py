"""Shifts of a target's images and streams of them."""
