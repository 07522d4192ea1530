"""A narrow U-Net that 2 CPU cores train on the real `paper` split.

python -m nucseg_jax.main --config configs/unet_small.py

48 minutes on 2 CPU cores that tests shared: mean nucleus F1 0.797, AJI 0.424 (components) on the 7 test
images.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_small_unet(width=0.25)
    config.num_epochs = 8  # of 250 steps
    config.data.validation = default.VALIDATION
    config.data.crop_size = 256
    config.data.random_crops = 34  # with the 16 tiles 50 patches an image, 1,000 an epoch
    config.data.fresh_crops = True
    config.optim.restart_epochs = 8.0
    config.checkpoint.every = 250
    return config
