"""Self-Correction: CE2P on ResNet-101, its three losses, and cycles that average parameters and labels.

python -m nucseg_jax.main --config configs/self_correction.py --config.model.encoder_weights=FILE

FILE: the self-correction authors' resnet101-imagenet.pth. The paper's optimiser and its 100 epochs, then the
reference implementation's five cycles of ten epochs, with its warm-up and losses (Li et al., TPAMI 2020).
Made for a GPU. The paper reports F1 0.8792 and AJI 0.7014, on test images that it does not name; this project
has not yet trained it to the end.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.num_epochs = 150
    config.model.name = "self_correction"
    config.optim.loss = "ce2p"
    config.self_correction.cycles = 5
    return config
