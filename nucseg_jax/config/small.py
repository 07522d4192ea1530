"""Starting points of the experiments that CPU cores finish."""

from ml_collections import ConfigDict

from nucseg_jax.config.defaults import get_config


def get_small(network: str, width: float) -> ConfigDict:
    """A narrow network with a training that CPU cores finish: many varied small patches, a plain loss."""
    config = get_config()
    config.batch_size = 4
    config.model.name = network
    config.model.width = width
    config.data.turns = True
    config.data.flips = True
    config.optim.learning_rate = 0.05
    config.optim.momentum = 0.9
    config.optim.weight_decay = 1e-4
    config.optim.loss_scale = 1.0
    return config


def get_small_monuseg(network: str) -> ConfigDict:
    """A network of a quarter of the width, with a class for boundaries, that 2 CPU cores train on MoNuSeg."""
    config = get_small(network, width=0.25)
    config.num_epochs = 4  # of 250 steps
    config.model.num_classes = 3
    config.data.validation = VALIDATION
    config.data.crop_size = 256
    config.data.random_crops = 34  # with the 16 tiles 50 patches an image, 1,000 an epoch
    config.data.fresh_crops = True
    config.optim.restart_epochs = 4.0
    config.checkpoint.every = 250
    # What `python -m nucseg_jax.tune` found best for the runs of release 0.1.0.
    config.instances.method = "watershed"
    config.instances.watershed.threshold = 0.4
    config.instances.watershed.h_um = 0.125
    config.instances.watershed.smoothing_um = 0.5
    config.instances.watershed.min_area_um2 = 4.375
    return config


VALIDATION = (
    "TCGA-50-5931-01Z-00-DX1",  # liver
    "TCGA-A7-A13E-01Z-00-DX1",  # breast
    "TCGA-G9-6348-01Z-00-DX1",  # prostate
)
"""Training images of every split, held out wherever a checkpoint or a setting is chosen."""
