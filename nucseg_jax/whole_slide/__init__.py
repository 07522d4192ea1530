"""Inference on slides of any size: tiles on a fixed grid → probabilities on disk → nuclei, block by block.

grid (where tiles lie) → device (stain, network) → store (probabilities) → blocks (nuclei); pipeline runs
them side by side. Nothing is imported here: the processes that cut nuclei do without JAX.
"""
