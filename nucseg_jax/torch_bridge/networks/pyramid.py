"""Pyramid pooling (Zhao et al., CVPR 2017) and the resizing with aligned corners that it rests on."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

BINS = (1, 2, 3, 6)


def resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bilinear, corners aligned, up or down: [B,C,h,w] → [B,C,*size]."""
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)


def pooling_branches(
    in_channels: int, out_channels: int, normalise: Callable[[int], Sequence[nn.Module]]
) -> nn.ModuleList:
    """For each of BINS: average pooling to bins × bins, 1×1 convolution, then the layers of `normalise`.

    `normalise(out_channels)` gives batch norm and activation, which the two networks name differently.
    """
    return nn.ModuleList(
        nn.Sequential(
            nn.AdaptiveAvgPool2d(bins),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            *normalise(out_channels),
        )
        for bins in BINS
    )


def pool_pyramid(x: torch.Tensor, branches: Iterable[nn.Module]) -> list[torch.Tensor]:
    """x: [B,in_channels,h,w] → one [B,out_channels,h,w] a branch, resized after its activation."""
    return [resize(branch(x), x.shape[2:]) for branch in branches]
