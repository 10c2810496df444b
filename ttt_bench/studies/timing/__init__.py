"""Inference times of methods on random images: `ttt-bench time` and the study `timing`."""
