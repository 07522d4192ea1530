"""From a config to a trained network.

Start with `train`; then `start`, `loop`, `step`; `optim`; `objectives`, `losses`; `self_correction` and
`cycles`.
"""
