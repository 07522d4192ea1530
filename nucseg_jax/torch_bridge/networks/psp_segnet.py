"""PSPSegNet: ResNet-101, pyramid pooling at 1/8, and a decoder that fuses the encoder's features."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled
from nucseg_jax.torch_bridge.networks.pyramid import BINS, pool_pyramid, pooling_branches, resize
from nucseg_jax.torch_bridge.networks.resnet import conv_without_bias, resnet101_stages, stage_channels


class Up(nn.Module):
    """Resize to the target's size, 5×5 convolution, batch norm; no activation."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 5, padding=2)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """x: [B,in_channels,h,w] → [B,out_channels,*size]."""
        return self.bn(self.conv1(resize(x, size)))


class Fuse(nn.Module):
    """ReLU(BN(1×1 convolution of the encoder's features) + the decoder's features)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """skip and x: [B,channels,h,w] → the same shape."""
        return F.relu(self.bn(self.conv(skip)) + x)


class PyramidPooling(nn.Module):
    """The features, then the four pooled ones, concatenated."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.features = pooling_branches(in_channels, out_channels, lambda c: [nn.BatchNorm2d(c), nn.ReLU()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [B,in_channels,h,w] → [B,in_channels+4·out_channels,h,w]."""
        return torch.cat([x, *pool_pyramid(x, self.features)], 1)


class PSPSegNet(nn.Module):
    """122,925,064 parameters with two classes at width 1; train with at least two images a batch."""

    def __init__(self, *, num_classes: int = 2, width: float = 1.0):
        super().__init__()
        stem, context, last = (scaled(c, width) for c in (64, 512, 32))
        _, outer2, outer3, outer4 = stage_channels(width)
        self.conv1 = conv_without_bias(3, stem, 7, stride=2)
        self.bn0 = nn.BatchNorm2d(stem)
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet101_stages(stem, width=width)
        self.upsample1 = Up(outer4, outer3)
        self.upsample2 = Up(outer3, outer2)
        self.upsample3 = Up(outer2, stem)
        self.upsample4 = Up(stem, stem)
        self.upsample5 = Up(stem, last)
        # The published network has no fs3.
        self.fs1 = Fuse(outer3)
        self.fs2 = Fuse(outer2)
        self.fs4 = Fuse(stem)
        self.fs5 = Fuse(stem)
        self.ppm = PyramidPooling(outer4, context)
        self.conv_after_ppm = conv_without_bias(outer4 + len(BINS) * context, outer4, 1)
        self.out5 = nn.Sequential(
            nn.Conv2d(last, num_classes, 1), nn.Conv2d(num_classes, num_classes, 3, padding=1)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1] → logits [B,C,H,W]."""
        c = F.relu(self.bn0(self.conv1(images)))
        p = F.max_pool2d(c, 3, stride=2, padding=1)
        f2 = self.layer2(self.layer1(p))
        f3 = self.layer3(f2)
        f4 = self.layer4(f3)
        x = self.conv_after_ppm(self.ppm(resize(f4, f2.shape[2:])))
        x = self.fs1(f3, self.upsample1(x, f3.shape[2:]))
        x = self.fs2(f2, self.upsample2(x, f2.shape[2:]))
        x = self.fs4(p, self.upsample3(x, p.shape[2:]))
        x = self.fs5(c, self.upsample4(x, c.shape[2:]))
        return self.out5(self.upsample5(x, images.shape[2:]))
