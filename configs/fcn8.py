"""FCN-8 on VGG-16 with the paper's values, but for the ImageNet weights of its encoder, if none are given.

python -m nucseg_jax.main --config configs/fcn8.py --config.model.encoder_weights=vgg16-397923af.pth

Made for a GPU. The paper reports F1 0.8467 and AJI 0.6418, on test images that it does not name; this
project has not yet trained it to the end.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.model.name = "fcn8"
    return config
