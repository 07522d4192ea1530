"""A U-Net whose encoder is EfficientNet-Lite0, with the keys of the package `efficientnet-lite-pytorch`."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models import efficientnet
from nucseg_jax.models.efficient_unet import CHANNELS, HALF_SIZE
from nucseg_jax.models.layers import scaled


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=efficientnet.EPSILON, momentum=1 - efficientnet.MOMENTUM)


class SameConv(nn.Conv2d):
    """Padded as TensorFlow does: where the padding is odd, the bottom and the right get the larger half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before, after = efficientnet.same_padding(self.kernel_size[0], self.stride[0])
        return super().forward(F.pad(x, (before, after, before, after)))


class MBConvBlock(nn.Module):
    """Expansion, depthwise convolution, projection: [B,in_channels,h,w] → [B,out_channels,h/stride,…]."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int):
        super().__init__()
        inside = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SameConv(in_channels, inside, 1, bias=False)
            self._bn0 = _norm(inside)
        self._depthwise_conv = SameConv(inside, inside, kernel, stride, groups=inside, bias=False)
        self._bn1 = _norm(inside)
        self._project_conv = SameConv(inside, out_channels, 1, bias=False)
        self._bn2 = _norm(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The encoder, without ImageNet's head."""

    def __init__(self, width: float):
        super().__init__()
        channels = scaled(efficientnet.STEM, width)
        self._conv_stem = SameConv(3, channels, 3, 2, bias=False)
        self._bn0 = _norm(channels)
        blocks, self.ends = [], []
        for i, stage in enumerate(efficientnet.STAGES):
            out = scaled(stage.channels, width)
            for j in range(stage.blocks):
                blocks.append(
                    MBConvBlock(
                        channels,
                        out,
                        kernel=stage.kernel,
                        stride=stage.stride if j == 0 else 1,
                        expansion=stage.expansion,
                    )
                )
                channels = out
            if i in efficientnet.FEATURES:
                self.ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """[B,3,H,W] → features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size."""
        x = F.relu6(self._bn0(self._conv_stem(images)))
        features = []
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self.ends:
                features.append(x)
        return features


class UpBlock(nn.Module):
    """Nearest upsampling, the encoder's features; a convolution of each, summed; another convolution."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int):
        super().__init__()
        self.up = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.has_skip = skip_channels > 0
        if self.has_skip:
            self.skip = nn.Conv2d(skip_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        y = self.up(F.interpolate(x, scale_factor=2, mode="nearest"))
        if self.has_skip:
            y = y + self.skip(skip)
        y = F.relu(self.bn1(y))
        return F.relu(self.bn2(self.conv(y)))


class EfficientUNet(nn.Module):
    """Height and width multiples of 32."""

    def __init__(self, channels: Sequence[int] = CHANNELS, *, num_classes: int = 2, width: float = 1.0):
        super().__init__()
        self.encoder = EfficientNetLite0(width)
        features = [scaled(efficientnet.STAGES[i].channels, width) for i in efficientnet.FEATURES]
        sizes = [scaled(c, width) for c in channels]
        skips = [*features[-2::-1], 0][: len(sizes)]
        blocks = zip([features[-1], *sizes[:-1]], skips, sizes, strict=True)
        self.decoder = nn.ModuleList(UpBlock(*block) for block in blocks)
        self.classifier = nn.Conv2d(sizes[-1], num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1] → logits [B,C,H,W]."""
        mean, deviation = (
            torch.tensor(values, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
            for values in (efficientnet.MEAN, efficientnet.DEVIATION)
        )
        features = self.encoder((images - mean) / deviation)
        x = features[-1]
        for block, skip in zip(self.decoder, [*features[-2::-1], None], strict=False):
            x = block(x, skip)
        logits = self.classifier(x)
        if len(self.decoder) == len(HALF_SIZE):
            logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        return logits
