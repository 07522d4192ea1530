"""`python -m nucseg_jax.tune`; the search is in `nucseg_jax.evaluation.tuning`."""
