"""The same network in PyTorch, with the same weights."""

from flax import nnx

from nucseg_jax.errors import MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError("torch", error) from error

from nucseg_jax.models import create_model
from nucseg_jax.models.network import Weights
from nucseg_jax.torch_bridge.networks import create_torch_network
from nucseg_jax.torch_bridge.weights import state_arrays


def torch_twin(name: str, weights: Weights, *, num_classes: int, width: float) -> torch.nn.Module:
    """The same network in PyTorch with the same weights, in training mode.

    Args:
      name: of the network.
      weights: of it.
      num_classes, width: as of `models.create_model`.
    """
    model = create_model(name, num_classes=num_classes, width=width, rngs=nnx.Rngs(params=0, dropout=0))
    nnx.update(model, *weights)
    network = create_torch_network(name, num_classes=num_classes, width=width)
    network.load_state_dict({key: torch.tensor(value) for key, value in state_arrays(model).items()})
    return network
