"""Data sets whose images are listed in files (NYUD-v2, PASCAL-Context)."""
