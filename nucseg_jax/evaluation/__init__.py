"""Scores of runs, ensembles and other tools; their comparison; tuning.

`evaluate` is the file to read first.
"""
