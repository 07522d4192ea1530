"""`python -m nucseg_jax.report`, which is `nucseg report`."""

from nucseg_jax.cli import door

if __name__ == "__main__":
    door("report")
