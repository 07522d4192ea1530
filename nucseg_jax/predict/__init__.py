"""Nuclei of many slides and images.

`jobs` (what is to be done) → `one_slide` (read, segment, export) → `rounds` (every slide that nobody else
works on, one after the other) → `all_slides` (the command).
"""
