"""`python -m nucseg_jax.torch_bridge.convert`, which is `nucseg convert`."""

from nucseg_jax.cli import door

if __name__ == "__main__":
    door("convert")
