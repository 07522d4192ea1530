"""PSPSegNet with the paper's values, but for the ImageNet weights of its encoder, if none are given.

All 23 training images, the last checkpoint.

python -m nucseg_jax.main --config configs/psp.py --config.model.encoder_weights=resnet101-63fe2227.pth

Made for a GPU. The paper reports F1 0.8815 and AJI 0.7080, on test images that it does not name; this
project has not yet trained it to the end.
On N GPUs the batch must be a multiple of N: --config.batch_size=N.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import defaults


def get_config() -> ConfigDict:
    return defaults.get_config()
