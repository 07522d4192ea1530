"""Self-Correction: CE2P on ResNet-101, its three losses, and cycles that average parameters and labels.

python -m nucseg_jax.main --config configs/self_correction.py --config.model.encoder_weights=FILE

FILE: the self-correction authors' resnet101-imagenet.pth. Its weights were trained on BGR images; they are
loaded so that they fit the RGB images that this network gets (model.channel_order).

The paper's optimiser and its 100 epochs: 50 of ordinary training, then the reference implementation's five
cycles of ten epochs, with its warm-up and losses (Li et al., TPAMI 2020). The reference implementation trains
100 epochs before its cycles.

Made for a GPU. The paper reports F1 0.8792 and AJI 0.7014, on test images that it does not name; this project
has not yet trained it to the end.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.num_epochs = 100  # 50 and five cycles of 10
    config.model.name = "self_correction"
    config.optim.loss = "ce2p"
    config.self_correction.cycles = 5
    return config
