"""`python -m nucseg_jax.suggest`, which is `nucseg suggest`."""

from nucseg_jax.cli import door

if __name__ == "__main__":
    door("suggest")
