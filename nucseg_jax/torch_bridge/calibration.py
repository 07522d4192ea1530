"""Random networks whose every layer shows in the logits, so that a parity test can fail."""

from typing import Any

import torch
from torch import nn

from nucseg_jax.torch_bridge.networks.resnet import Bottleneck


@torch.no_grad()
def weaken_residuals(network: nn.Module) -> None:
    """Scale the last batch norm of every ResNet bottleneck to a tenth, before `calibrate`.

    At full strength 33 random bottlenecks are chaotic: PyTorch's own float32 logits differ from its float64
    ones by 5e-4 of their range, its gradients by 5 % and more, and no other float32 program can come closer.
    Weakened, the logits differ by 4e-6, and every layer still moves them by 8 % of the range.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.bn3.weight.mul_(0.1)


@torch.no_grad()
def calibrate(
    network: nn.Module, *, size: tuple[int, int] = (256, 192), batch_size: int = 4, seed: int = 0
) -> None:
    """Fit the batch statistics to random images, perturb every batch norm; leave the network in eval mode.

    With fresh statistics the signal fades from layer to layer, and a layer may be wrong without a trace.
    The perturbation makes mean, variance, scale and shift of each batch norm distinct and distinguishable.
    Deterministic in `seed`; the global random state is neither read nor moved, as dropout stays off.

    Args:
      network: one of `create_torch_network`, on any device.
      size: height and width of the random images.
      batch_size: at least 2. The variance of a 1-bin pooling branch is that of `batch_size` values; with
        only two it is often so small that other images blow that branch up until it drowns the skips.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((batch_size, 3, *size), generator=generator).to(next(network.parameters()))

    def perturb_once_fitted(norm: nn.BatchNorm2d, inputs: tuple[Any, ...], _: torch.Tensor) -> torch.Tensor:
        # During the pass, so that later layers are fitted to what the perturbed ones hand on: perturbed
        # afterwards, a hundred layers multiply their mismatch until logits are in the thousands.
        norm.momentum = momenta[norm]
        norm.eval()
        _perturb(norm, generator)
        return norm.forward(inputs[0])

    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = {norm: norm.momentum for norm in norms}
    hooks = [norm.register_forward_hook(perturb_once_fitted) for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    network(images)
    for hook in hooks:
        hook.remove()


def _perturb(norm: nn.BatchNorm2d, generator: torch.Generator) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None

    def factor() -> torch.Tensor:
        return torch.empty(mean.shape).uniform_(0.75, 1.25, generator=generator).to(mean)

    def noise() -> torch.Tensor:
        return torch.randn(mean.shape, generator=generator).to(mean)

    mean.add_(0.1 * variance.sqrt() * noise())
    variance.mul_(factor())
    norm.weight.mul_(factor())
    norm.bias.add_(0.1 * noise())
