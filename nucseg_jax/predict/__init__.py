"""Nuclei of many slides and images.

`jobs` (what is to be done) → `one_slide` (read, segment, export) → `all_slides` (every slide in turn, and a
list of those that failed).
"""
