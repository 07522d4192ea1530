"""FCN-8, -16 and -32 (Long et al., CVPR 2015) on VGG-16's convolutions, as the paper's authors build it."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)


class VGG16(nn.Module):
    """13 3×3 convolutions with ReLU in five groups, each closed by a 2×2 max pool; no batch norm."""

    def __init__(self, channels: list[int]):
        super().__init__()
        modules: list[nn.Module] = []
        in_channels = 3
        for out_channels, count in zip(channels, CONVOLUTIONS, strict=True):
            for _ in range(count):
                conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
                # PyTorch's default would fade to the biases alone: no batch norm restores the scale here.
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                modules += [conv, nn.ReLU()]
                in_channels = out_channels
            modules.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*modules)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x: [B,3,H,W] → the five pools, at 1/2 to 1/32 of the size."""
        pools = []
        for module in self.features:
            x = module(x)
            if isinstance(module, nn.MaxPool2d):
                pools.append(x)
        return pools


def _doubling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)


class FCN(nn.Module):
    """18,643,746 parameters with two classes at width 1, for every stride.

    `stride` is that of the finest encoder features used: 8 adds pool4 and pool3 to the decoder, 16 only
    pool4, 32 none.
    """

    def __init__(self, *, num_classes: int = 2, width: float = 1.0, stride: Literal[8, 16, 32] = 8):
        super().__init__()
        self.stride = stride
        c1, c2, c3, c4, c5 = (scaled(c, width) for c in CHANNELS)
        last = scaled(32, width)
        self.pretrained_net = VGG16([c1, c2, c3, c4, c5])
        self.deconv1 = _doubling(c5, c4)
        self.bn1 = nn.BatchNorm2d(c4)
        self.deconv2 = _doubling(c4, c3)
        self.bn2 = nn.BatchNorm2d(c3)
        self.deconv3 = _doubling(c3, c2)
        self.bn3 = nn.BatchNorm2d(c2)
        self.deconv4 = _doubling(c2, c1)
        self.bn4 = nn.BatchNorm2d(c1)
        self.deconv5 = _doubling(c1, last)
        self.bn5 = nn.BatchNorm2d(last)
        self.classifier = nn.Conv2d(last, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1], H and W multiples of 32 → logits [B,C,H,W]."""
        _, _, pool3, pool4, x = self.pretrained_net(images)
        x = F.relu(self.deconv1(x))
        x = self.bn1(x + pool4 if self.stride <= 16 else x)
        x = F.relu(self.deconv2(x))
        x = self.bn2(x + pool3 if self.stride == 8 else x)
        x = self.bn3(F.relu(self.deconv3(x)))
        x = self.bn4(F.relu(self.deconv4(x)))
        x = self.bn5(F.relu(self.deconv5(x)))
        return self.classifier(x)
