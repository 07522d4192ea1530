"""FC-DenseNet103 (Jégou et al., CVPR Workshops 2017); returns logits, not the authors' log-softmax."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled

LAYERS_DOWN = (4, 5, 7, 10, 12)
LAYERS_BOTTLENECK = 15
LAYERS_UP = (12, 10, 7, 5, 4)
DROPOUT = 0.2


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 3×3 convolution, dropout of whole channels."""

    def __init__(self, in_channels: int, growth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1)
        self.drop = nn.Dropout2d(DROPOUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [B,in_channels,h,w] → [B,growth,h,w]."""
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    """Every layer sees the block's input, then the features of all layers before it."""

    def __init__(self, in_channels: int, growth: int, count: int):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(in_channels + i * growth, growth) for i in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [B,in_channels,h,w] → the new features alone, [B,count·growth,h,w]."""
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features[1:], 1)


class TransitionDown(nn.Module):
    """Batch norm, ReLU, 1×1 convolution, channel dropout, 2×2 max pool: half the size."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 1)
        self.drop = nn.Dropout2d(DROPOUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [B,channels,h,w] → [B,channels,h/2,w/2]."""
        return F.max_pool2d(self.drop(self.conv(F.relu(self.norm(x)))), 2)


class TransitionUp(nn.Module):
    """Transposed convolution to 2h + 1, of which the top-left part joins the skip."""

    def __init__(self, channels: int):
        super().__init__()
        self.convTrans = nn.ConvTranspose2d(channels, channels, 3, stride=2)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """x: [B,channels,h,w], skip: [B,s,2h,2w] → [B,channels+s,2h,2w], the skip last."""
        height, width = skip.shape[2:]
        return torch.cat([self.convTrans(x)[:, :, :height, :width], skip], 1)


class FCDenseNet(nn.Module):
    """9,319,778 parameters with two classes at width 1."""

    def __init__(self, *, num_classes: int = 2, width: float = 1.0):
        super().__init__()
        growth = scaled(16, width)
        channels = scaled(48, width)
        self.firstconv = nn.Conv2d(3, channels, 3, padding=1)
        self.denseBlocksDown = nn.ModuleList()
        self.transDownBlocks = nn.ModuleList()
        skip_channels = []
        for count in LAYERS_DOWN:
            self.denseBlocksDown.append(DenseBlock(channels, growth, count))
            channels += count * growth
            skip_channels.append(channels)
            self.transDownBlocks.append(TransitionDown(channels))
        # Nested only to give the published keys.
        self.bottleneck = nn.Sequential(
            OrderedDict(bottleneck=DenseBlock(channels, growth, LAYERS_BOTTLENECK))
        )
        self.transUpBlocks = nn.ModuleList()
        self.denseBlocksUp = nn.ModuleList()
        channels = LAYERS_BOTTLENECK * growth
        for count, skip in zip(LAYERS_UP, reversed(skip_channels), strict=True):
            self.transUpBlocks.append(TransitionUp(channels))
            self.denseBlocksUp.append(DenseBlock(channels + skip, growth, count))
            joined, channels = channels + skip, count * growth
        self.finalConv = nn.Conv2d(joined + channels, num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1], H and W multiples of 32 → logits [B,C,H,W]."""
        x = self.firstconv(images)
        skips = []
        for block, down in zip(self.denseBlocksDown, self.transDownBlocks, strict=True):
            x = torch.cat([x, block(x)], 1)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for up, block, skip in zip(self.transUpBlocks, self.denseBlocksUp, reversed(skips), strict=True):
            joined = up(x, skip)
            x = block(joined)
        # Only the last block hands on its input too.
        return self.finalConv(torch.cat([joined, x], 1))
