"""CE2P (Ruan et al., AAAI 2019), the network of self-correction (Li et al., TPAMI 2020)."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nucseg_jax.models.layers import scaled
from nucseg_jax.models.targets import EDGE_CLASSES
from nucseg_jax.torch_bridge.networks.pyramid import BINS, pool_pyramid, pooling_branches, resize
from nucseg_jax.torch_bridge.networks.resnet import conv_without_bias, resnet101_stages, stage_channels


class LeakyNorm(nn.Module):
    """Batch norm and leaky ReLU of slope 0.01: [B,channels,h,w] → the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.bn(x), 0.01)


def _conv_norm(in_channels: int, out_channels: int, kernel: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_without_bias(in_channels, out_channels, kernel), LeakyNorm(out_channels))


class Context(nn.Module):
    """Pyramid pooling; the four pooled features, then the features themselves, reduced by a 3×3 conv."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.stages = pooling_branches(in_channels, out_channels, lambda c: [LeakyNorm(c)])
        self.bottleneck = _conv_norm(in_channels + len(BINS) * out_channels, out_channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [B,in_channels,h,w] → [B,out_channels,h,w]."""
        return self.bottleneck(torch.cat([*pool_pyramid(x, self.stages), x], 1))


class Edge(nn.Module):
    """Outlines from the first three stages."""

    def __init__(self, x2: int, x3: int, x4: int, channels: int):
        super().__init__()
        self.conv1 = _conv_norm(x2, channels)
        self.conv2 = _conv_norm(x3, channels)
        self.conv3 = _conv_norm(x4, channels)
        self.conv4 = nn.Conv2d(channels, EDGE_CLASSES, 3, padding=1)
        self.conv5 = nn.Conv2d(3 * EDGE_CLASSES, EDGE_CLASSES, 1)

    def forward(
        self, x2: torch.Tensor, x3: torch.Tensor, x4: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stage outputs → edge logits [B,2,h,w] and features [B,3·channels,h,w], h and w those of x2."""
        size = x2.shape[2:]
        features = [self.conv1(x2), self.conv2(x3), self.conv3(x4)]
        # conv4 acts at each stage's own resolution, before the resizing.
        logits = torch.cat([resize(self.conv4(f), size) for f in features], 1)
        return self.conv5(logits), torch.cat([resize(f, size) for f in features], 1)


class Decoder(nn.Module):
    """Parsing: the context, refined by the first stage's features."""

    def __init__(self, context: int, x2: int, channels: int, reduced: int, num_classes: int):
        super().__init__()
        self.conv1 = _conv_norm(context, channels)
        self.conv2 = _conv_norm(x2, reduced)
        self.conv3 = nn.Sequential(*_conv_norm(channels + reduced, channels), *_conv_norm(channels, channels))
        self.conv4 = nn.Conv2d(channels, num_classes, 1)

    def forward(self, context: torch.Tensor, x2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Context and x2 [B,·,h,w] → parsing logits [B,C,h,w] and features [B,channels,h,w]."""
        context = resize(self.conv1(context), x2.shape[2:])
        features = self.conv3(torch.cat([context, self.conv2(x2)], 1))
        return self.conv4(features), features


class Branches(NamedTuple):
    """Raw logits at the input's size."""

    parsing: torch.Tensor  # [B,C,H,W]
    edge: torch.Tensor  # [B,2,H,W]
    fusion: torch.Tensor  # [B,C,H,W]


class CE2P(nn.Module):
    """66,714,676 parameters with two classes at width 1; train with at least two images a batch."""

    def __init__(self, *, num_classes: int = 2, width: float = 1.0):
        super().__init__()
        stem, stem_out, context, channels, reduced = (scaled(c, width) for c in (64, 128, 512, 256, 48))
        outer1, outer2, outer3, outer4 = stage_channels(width)
        self.conv1 = conv_without_bias(3, stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = conv_without_bias(stem, stem, 3)
        self.bn2 = nn.BatchNorm2d(stem)
        self.conv3 = conv_without_bias(stem, stem_out, 3)
        self.bn3 = nn.BatchNorm2d(stem_out)
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet101_stages(
            stem_out, width=width, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)
        )
        self.context_encoding = Context(outer4, context)
        self.edge = Edge(outer1, outer2, outer3, channels)
        self.decoder = Decoder(context, outer1, channels, reduced, num_classes)
        self.fusion = nn.Sequential(
            *_conv_norm(4 * channels, channels), nn.Dropout2d(0.1), nn.Conv2d(channels, num_classes, 1)
        )

    def branches(self, images: torch.Tensor) -> Branches:
        """images: float[B,3,H,W] in [0, 1] → the logits of all three branches."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x2 = self.layer1(F.max_pool2d(x, 3, stride=2, padding=1))
        x3 = self.layer2(x2)
        x4 = self.layer3(x3)
        x5 = self.layer4(x4)
        parsing, parsing_features = self.decoder(self.context_encoding(x5), x2)
        edge, edge_features = self.edge(x2, x3, x4)
        fusion = self.fusion(torch.cat([parsing_features, edge_features], 1))
        return Branches(*(resize(logits, images.shape[2:]) for logits in (parsing, edge, fusion)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images: float[B,3,H,W] in [0, 1] → fusion logits [B,C,H,W]."""
        return self.branches(images).fusion
