"""Nuclei of many slides and images.

`jobs` (what is to be done) → `one_slide` (read, segment, export) → `attempts` (unless another process is at
it) → `rounds` (one slide after the other, those that nobody else works on first) or `cluster` (many at once,
by Dask) → `all_slides` (the command).
"""
