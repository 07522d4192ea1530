"""From a config to a trained network.

Start with `train`; then `loop`, `step`; `optim`; `objectives`, `losses`; `self_correction`, `cycles`.
"""
