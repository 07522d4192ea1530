"""PyTorch checkpoints into Flax and back, and comparison of both. `imagenet` has the encoders' weights."""

from nucseg_jax.torch_bridge.weights import load_state_dict, state_arrays

__all__ = ["load_state_dict", "state_arrays"]
