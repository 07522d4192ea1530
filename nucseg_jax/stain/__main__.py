"""`python -m nucseg_jax.stain`, which is `nucseg stain`."""

from nucseg_jax.cli import door

if __name__ == "__main__":
    door("stain")
