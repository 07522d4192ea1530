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


def get_shipped(mpp: float) -> ConfigDict:
    """The recipe of the models that ship.

    Args:
      mpp: µm a pixel of what the network sees: MoNuSeg's images of 1000 pixels at 0.25 are prepared with
        `--size` 250 / mpp.
    """
    config = get_config()
    config.batch_size = 4
    # Of a cosine of 8,000. With weaker changes of patches AJI on the held-out images was best here.
    config.num_steps = 4500
    config.num_epochs = 18  # of 250 steps, what the epochs below are counted in
    config.log_every = 50
    config.model.name = "efficient_unet_half"
    config.model.num_classes = 3
    config.model.boundary = "distance"
    config.model.encoder_weights = "efficientnet-lite0"
    config.data.stain = "none"
    config.data.size = round(250 / mpp)
    config.data.validation = VALIDATION
    config.data.pipeline = "resident"
    config.data.crop_size = round(64 / mpp)  # 64 µm at any resolution
    config.data.random_crops = 34
    config.data.fresh_crops = True
    config.data.balance_sources = True
    config.data.turns = True
    config.data.flips = True
    # Strong, for tissue of other laboratories: docs/model_card.md has what each change does to CoNSeP.
    config.augment.smallest_scale = 0.65
    config.augment.largest_scale = 1.5
    config.augment.gamma = 2.0
    config.augment.blur_px = 0.25 / mpp  # 0.25 µm at any resolution
    config.augment.noise = 8.0
    config.stain.augment_scale = 0.4
    config.stain.augment_shift = 0.05
    config.stain.augment_residual = 0.4
    config.optim.method = "adamw"
    config.optim.learning_rate = 3e-3
    config.optim.encoder_learning_rate = 1e-3
    config.optim.weight_decay = 1e-2
    config.optim.warmup_epochs = 1.0
    config.optim.restart_epochs = 32.0
    config.optim.loss_scale = 1.0
    config.optim.loss = "cross_entropy_dice"
    config.optim.average_decay = 0.995
    config.checkpoint.every = 500
    config.instances.method = "depth"
    config.instances.depth.h = 0.2
    config.instances.depth.smoothing_um = 0.5
    config.instances.depth.min_area_um2 = 6.25
    return config


VALIDATION = (
    "TCGA-50-5931-01Z-00-DX1",  # liver
    "TCGA-A7-A13E-01Z-00-DX1",  # breast
    "TCGA-G9-6348-01Z-00-DX1",  # prostate
)
"""Training images of every split, held out wherever a checkpoint or a setting is chosen."""
