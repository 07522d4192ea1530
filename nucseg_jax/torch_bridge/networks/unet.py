"""U-Net with batch norm (Ronneberger et al., MICCAI 2015), as the paper's authors build it."""

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled

CHANNELS = (64, 128, 256, 512, 1024)


class DoubleConv(nn.Module):
    """Two times 3×3 convolution, batch norm, ReLU: [B,in_channels,h,w] → [B,out_channels,h,w]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class UpConv(nn.Module):
    """Nearest upsampling, convolution, batch norm, ReLU: [B,in_channels,h,w] → [B,out_channels,2h,2w]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(x)


class UNet(nn.Module):
    """34,527,106 parameters with two classes at width 1; attributes are named by the published keys."""

    def __init__(self, *, num_classes: int = 2, width: float = 1.0):
        super().__init__()
        c1, c2, c3, c4, c5 = (scaled(c, width) for c in CHANNELS)
        self.Conv1 = DoubleConv(3, c1)
        self.Conv2 = DoubleConv(c1, c2)
        self.Conv3 = DoubleConv(c2, c3)
        self.Conv4 = DoubleConv(c3, c4)
        self.Conv5 = DoubleConv(c4, c5)
        self.Up5 = UpConv(c5, c4)
        self.Up_conv5 = DoubleConv(2 * c4, c4)
        self.Up4 = UpConv(c4, c3)
        self.Up_conv4 = DoubleConv(2 * c3, c3)
        self.Up3 = UpConv(c3, c2)
        self.Up_conv3 = DoubleConv(2 * c2, c2)
        self.Up2 = UpConv(c2, c1)
        self.Up_conv2 = DoubleConv(2 * c1, c1)
        self.Conv_1x1 = nn.Conv2d(c1, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1], H and W multiples of 16 → logits [B,C,H,W]."""
        x1 = self.Conv1(images)
        x2 = self.Conv2(F.max_pool2d(x1, 2))
        x3 = self.Conv3(F.max_pool2d(x2, 2))
        x4 = self.Conv4(F.max_pool2d(x3, 2))
        x = self.Conv5(F.max_pool2d(x4, 2))
        x = self.Up_conv5(torch.cat([x4, self.Up5(x)], 1))
        x = self.Up_conv4(torch.cat([x3, self.Up4(x)], 1))
        x = self.Up_conv3(torch.cat([x2, self.Up3(x)], 1))
        x = self.Up_conv2(torch.cat([x1, self.Up2(x)], 1))
        return self.Conv_1x1(x)
