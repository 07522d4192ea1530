"""SegNet (Badrinarayanan et al., TPAMI 2017) as the paper's authors build it, two convolutions a block."""

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled

CHANNELS = (64, 128, 256, 512, 512)


def _conv_bn_relu(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


class Encoder(nn.Module):
    """Two 3×3 convolutions with batch norm and ReLU, dropout in the deep blocks, 2×2 max pooling."""

    def __init__(self, in_channels: int, out_channels: int, *, dropout: bool):
        super().__init__()
        self.features = nn.Sequential(
            *_conv_bn_relu(in_channels, out_channels), *_conv_bn_relu(out_channels, out_channels)
        )
        if dropout:
            self.features.append(nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Size]:
        """x: [B,in_channels,h,w] → pooled [B,out_channels,h/2,w/2], positions int64 likewise, (h, w).

        On the CPU the first of equal values in a window, in row-major order, gives the position.
        """
        x = self.features(x)
        pooled, positions = F.max_pool2d(x, 2, return_indices=True)
        return pooled, positions, x.shape[2:]


class Decoder(nn.Module):
    """Unpooling to the remembered positions, then convolutions with batch norm and ReLU.

    The first convolution keeps the width, a second one (`convolutions` 2) changes it.
    """

    def __init__(self, in_channels: int, out_channels: int, *, convolutions: int, dropout: bool):
        super().__init__()
        self.features = nn.Sequential(*_conv_bn_relu(in_channels, in_channels))
        if convolutions == 2:
            self.features.extend(_conv_bn_relu(in_channels, out_channels))
        if dropout:
            self.features.append(nn.Dropout(0.5))

    def forward(self, x: torch.Tensor, positions: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """x and positions: [B,in_channels,h,w] → [B,out_channels,*size], size that before the pooling."""
        return self.features(F.max_unpool2d(x, positions, [2, 2], output_size=list(size)))


class SegNet(nn.Module):
    """18,819,650 parameters with two classes at width 1."""

    def __init__(self, *, num_classes: int = 2, width: float = 1.0):
        super().__init__()
        c1, c2, c3, c4, c5 = (scaled(c, width) for c in CHANNELS)
        self.encoders = nn.ModuleList(
            [
                Encoder(3, c1, dropout=False),
                Encoder(c1, c2, dropout=False),
                Encoder(c2, c3, dropout=True),
                Encoder(c3, c4, dropout=True),
                Encoder(c4, c5, dropout=True),
            ]
        )
        self.decoders = nn.ModuleList(
            [
                Decoder(c5, c4, convolutions=2, dropout=True),
                Decoder(c4, c3, convolutions=2, dropout=True),
                Decoder(c3, c2, convolutions=2, dropout=True),
                Decoder(c2, c1, convolutions=2, dropout=False),
                Decoder(c1, c1, convolutions=1, dropout=False),
            ]
        )
        self.classifier = nn.Conv2d(c1, num_classes, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1], H and W at least 32 → logits [B,C,H,W]."""
        x = images
        pools = []
        for encoder in self.encoders:
            x, positions, size = encoder(x)
            pools.append((positions, size))
        for decoder, (positions, size) in zip(self.decoders, reversed(pools), strict=True):
            x = decoder(x, positions, size)
        return self.classifier(x)
