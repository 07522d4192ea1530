"""`python -m nucseg_jax.predict`, which is `nucseg predict`."""

from nucseg_jax.cli import door

if __name__ == "__main__":
    door("predict")
