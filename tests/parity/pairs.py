"""A PyTorch network whose every layer shows, and the Flax network with its weights."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.torch_bridge import load_state_dict
from nucseg_jax.torch_bridge.calibration import calibrate, weaken_residuals
from nucseg_jax.torch_bridge.networks import create_torch_network
from tests.networks import empty_network

PUBLISHED = ("fcn8", "fc_densenet", "unet", "segnet", "psp_segnet", "self_correction", "efficient_unet")
WEIGHTS = nnx.Any(nnx.Param, nnx.BatchStat)


@torch.no_grad()
def torch_network(name: str, *, width: float, size: tuple[int, int], calm: bool = False) -> torch.nn.Module:
    """A random network in eval mode, its batch norms fitted to random images and perturbed on the way.

    Args:
      name: of the network.
      width: multiplies every channel count.
      size: of the images.
      calm: weaken the residual branches of a ResNet, see `weaken_residuals`.
    """
    network = create_torch_network(name, width=width)
    if calm:
        weaken_residuals(network)
    calibrate(network, size=size)
    return network


@torch.no_grad()
def torch_network_perturbed_last(name: str, *, width: float, size: tuple[int, int]) -> torch.nn.Module:
    """A random network, all of its batch norms fitted in one training pass, and only then perturbed.

    A hundred batch norms multiply the mismatch that this leaves at each, up to logits in the thousands.
    """
    network = create_torch_network(name, width=width)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network(torch.rand(4, 3, *size))
    for norm in norms:
        norm.momentum = 0.1
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.75, 1.25)
        norm.weight *= torch.empty_like(norm.weight).uniform_(0.75, 1.25)
        norm.bias += 0.1 * torch.randn_like(norm.bias)
    return network.eval()


def flax_network(
    network: torch.nn.Module, name: str, *, width: float, dtype: DTypeLike = jnp.float32
) -> nnx.Module:
    """The same network in Flax, in eval mode; its parameters and statistics, too, have the given dtype."""
    model = empty_network(name, width=width, dtype=dtype)
    load_state_dict(model, network.state_dict())
    nnx.update(model, jax.tree.map(lambda leaf: leaf.astype(dtype), nnx.state(model, WEIGHTS)))
    model.eval()
    return model


def as_flax(value: Any) -> Any:
    """Every [B,C,h,w] tensor of a structure as an array [B,h,w,C]."""
    return jax.tree.map(lambda x: x.detach().permute(0, 2, 3, 1).contiguous().numpy(), value)


def relative_error(found: Any, expected: np.ndarray) -> np.ndarray:
    """|found − expected| as a fraction of the range of `expected`."""
    found = np.asarray(found)
    assert found.shape == expected.shape and np.isfinite(found).all()
    span = np.ptp(expected.astype(np.float64))
    assert span > 0, "a constant tells nothing"
    return np.abs(found.astype(np.float64) - expected) / span


def report(what: str, figures: Mapping[str, float]) -> None:
    """Print the measured figures (pytest shows them with -s or -rP)."""
    print(f"{what}:", *(f"{name} {value:.2g}" for name, value in figures.items()), flush=True)
