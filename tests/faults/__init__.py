"""The fault campaign: break runs and stored files at random, and judge what happens next.

`python -m faults` (with `tests` on the path) runs it; docs/faults.md shows its figures. After each
fault a command must give the same values as an undisturbed run, or end with one clear line.
"""
