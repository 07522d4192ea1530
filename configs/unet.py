"""U-Net with the paper's values.

python -m nucseg_jax.main --config configs/unet.py
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.model.name = "unet"
    return config
