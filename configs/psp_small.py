"""A narrow PSPSegNet that 2 CPU cores train on the real `paper` split.

python -m nucseg_jax.main --config configs/psp_small.py

1,000 steps. By release 0.1.0's engine, on the 7 test images, tuned: mean AJI 0.438, Dice 0.772.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    return default.get_small_monuseg("psp_segnet")
