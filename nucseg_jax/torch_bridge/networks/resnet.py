"""ResNet-101's four stages of bottlenecks (He et al., CVPR 2016), the stride in the 3×3 convolution."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled

EXPANSION = 4
RESNET101_BLOCKS = (3, 4, 23, 3)


def conv_without_bias(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A square convolution padded so that stride 1 keeps the size; batch norm follows it."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)


class Bottleneck(nn.Module):
    """1×1, 3×3 (strided, dilated), 1×1 to four times the width, plus the shortcut."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int, project: bool):
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = conv_without_bias(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv_without_bias(channels, channels, 3, stride=stride, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv_without_bias(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if project:
            self.downsample = nn.Sequential(
                conv_without_bias(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [B,in_channels,h,w] → [B,4·channels,h/stride,w/stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x))


def stage_channels(width: float) -> list[int]:
    """Output channels of the four stages: 256, 512, 1024, 2048 at width 1."""
    return [EXPANSION * scaled(64 * 2**stage, width) for stage in range(4)]


def resnet101_stages(
    in_channels: int,
    *,
    width: float,
    strides: Sequence[int] = (1, 2, 2, 2),
    dilations: Sequence[int] = (1, 1, 1, 1),
) -> list[nn.Sequential]:
    """The four stages in order; `strides` acts in each one's first block, `dilations` in all of them."""
    outer = stage_channels(width)
    inputs = [in_channels, *outer[:-1]]
    return [
        nn.Sequential(
            *(
                Bottleneck(
                    inputs[stage] if i == 0 else outer[stage],
                    outer[stage] // EXPANSION,
                    stride=strides[stage] if i == 0 else 1,
                    dilation=dilations[stage],
                    project=i == 0,
                )
                for i in range(count)
            )
        )
        for stage, count in enumerate(RESNET101_BLOCKS)
    ]
