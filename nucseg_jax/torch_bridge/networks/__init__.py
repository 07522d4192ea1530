"""The published networks in PyTorch by name: images [B,3,H,W] in [0, 1] → raw logits [B,C,H,W].

They exist to compare the Flax networks with and to read published checkpoints: keys, shapes and order of
`state_dict()` are the published ones. Weights are drawn by PyTorch's defaults (He's for the VGG encoder,
which has no batch norm), because converted weights or a checkpoint replace them; train with the Flax
networks.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from nucseg_jax.errors import UserError
from nucseg_jax.torch_bridge.networks.ce2p import CE2P
from nucseg_jax.torch_bridge.networks.efficient_unet import HALF_SIZE, EfficientUNet
from nucseg_jax.torch_bridge.networks.fc_densenet import FCDenseNet
from nucseg_jax.torch_bridge.networks.fcn8 import FCN
from nucseg_jax.torch_bridge.networks.psp_segnet import PSPSegNet
from nucseg_jax.torch_bridge.networks.segnet import SegNet
from nucseg_jax.torch_bridge.networks.unet import UNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "efficient_unet": EfficientUNet,
    "efficient_unet_half": partial(EfficientUNet, HALF_SIZE),
    "fc_densenet": FCDenseNet,
    "fcn16": partial(FCN, stride=16),
    "fcn32": partial(FCN, stride=32),
    "fcn8": partial(FCN, stride=8),
    "psp_segnet": PSPSegNet,
    "segnet": SegNet,
    "self_correction": CE2P,
    "unet": UNet,
}


def create_torch_network(name: str, *, num_classes: int = 2, width: float = 1.0) -> nn.Module:
    """Build a network with fresh weights, in training mode.

    It maps float[B,3,H,W] in [0, 1], height and width multiples of 32, to raw logits [B,C,H,W].

    Args:
      name: one of NETWORKS.
      num_classes: channels of the logits.
      width: multiplies every channel count as in `nucseg_jax.models.create_model`; 1.0 is the published
        network.

    Raises:
      UserError: unknown name.
    """
    if name not in NETWORKS:
        raise UserError(f"no PyTorch network {name!r}: known are {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](num_classes=num_classes, width=width)
