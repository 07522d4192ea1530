"""Nuclei of many slides and images: ``python -m nucseg_jax.predict --workdir RUN SLIDE… --out DIR``.

plan (what is to be done) → work (one slide: read, segment, export) → __main__ (all of them, and what failed).
"""
