"""PSPSegNet with the paper's values: all 23 training images, the last checkpoint.

python -m nucseg_jax.main --config configs/psp.py
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    return default.get_config()
