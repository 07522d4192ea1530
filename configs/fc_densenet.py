"""FC-DenseNet103 with the paper's values.

python -m nucseg_jax.main --config configs/fc_densenet.py

Made for a GPU. The paper reports F1 0.8587 and AJI 0.6646, on test images that it does not name; this
project has not yet trained it to the end. The authors' script showed it the patches at half the size:
--config.model.input_scale=0.5.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.name = "fc_densenet"
    return config
