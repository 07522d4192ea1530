"""SegNet with the paper's values for the networks that it does score.

python -m nucseg_jax.main --config configs/segnet.py

Made for a GPU. The paper describes SegNet but gives it no row in its table of results.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.name = "segnet"
    return config
