"""For each network, which PyTorch module is which Flax module: the one table for both directions."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from flax import nnx

from nucseg_jax.errors import UserError
from nucseg_jax.models import efficientnet, fc_densenet, resnet, unet, vgg
from nucseg_jax.models.ce2p import CE2P
from nucseg_jax.models.efficient_unet import CHANNELS, HALF_SIZE, EfficientUNet, EfficientUNetHalf
from nucseg_jax.models.fc_densenet import FCDenseNet
from nucseg_jax.models.fcn8 import FCN
from nucseg_jax.models.psp_segnet import PSPSegNet
from nucseg_jax.models.segnet import SegNet
from nucseg_jax.models.unet import UNet


class Kind(Enum):
    """What a module holds, and so how its tensors are laid out."""

    CONV = "convolution"
    TRANSPOSED = "transposed convolution"
    NORM = "batch norm"


class Pair(NamedTuple):
    """One module with weights, by its attribute path in PyTorch and in Flax."""

    torch: str
    flax: str
    kind: Kind


Table = tuple[Pair, ...]


def _conv(torch: str, flax: str) -> Pair:
    return Pair(torch, flax, Kind.CONV)


def _norm(torch: str, flax: str) -> Pair:
    return Pair(torch, flax, Kind.NORM)


def _vgg16(prefix: str, target: str) -> Iterator[Pair]:
    position = 0  # in torchvision's sequence of convolutions, ReLUs and pools
    for group, count in enumerate(vgg.VGG16_CONVOLUTIONS):
        for i in range(count):
            yield _conv(f"{prefix}features.{position}", f"{target}groups.{group}.{i}")
            position += 2
        position += 1


def _resnet101_stages(target: str) -> Iterator[Pair]:
    for stage, count in enumerate(resnet.RESNET101_BLOCKS):
        for i in range(count):
            block, path = f"layer{stage + 1}.{i}", f"{target}stages.{stage}.{i}"
            for j in (1, 2, 3):
                yield _conv(f"{block}.conv{j}", f"{path}.conv{j}")
                yield _norm(f"{block}.bn{j}", f"{path}.bn{j}")
            if i == 0:
                yield _conv(f"{block}.downsample.0", f"{path}.shortcut.conv")
                yield _norm(f"{block}.downsample.1", f"{path}.shortcut.bn")


def _deep_stem(target: str) -> Iterator[Pair]:
    for j in (1, 2, 3):
        yield _conv(f"conv{j}", f"{target}stem.conv{j}")
        yield _norm(f"bn{j}", f"{target}stem.bn{j}")


def _efficientnet_lite0() -> Iterator[Pair]:
    yield _conv("_conv_stem", "stem.conv")
    yield _norm("_bn0", "stem.bn")
    number = 0
    for i, stage in enumerate(efficientnet.STAGES):
        for j in range(stage.blocks):
            block, path = f"_blocks.{number}", f"stages.{i}.{j}"
            if stage.expansion > 1:
                yield _conv(f"{block}._expand_conv", f"{path}.expand.conv")
                yield _norm(f"{block}._bn0", f"{path}.expand.bn")
            yield _conv(f"{block}._depthwise_conv", f"{path}.depthwise.conv")
            yield _norm(f"{block}._bn1", f"{path}.depthwise.bn")
            yield _conv(f"{block}._project_conv", f"{path}.project.conv")
            yield _norm(f"{block}._bn2", f"{path}.project.bn")
            number += 1


def _efficient_unet(blocks: int) -> Iterator[Pair]:
    for pair in _efficientnet_lite0():
        yield Pair(f"encoder.{pair.torch}", f"encoder.{pair.flax}", pair.kind)
    for i in range(blocks):
        block = f"decoder.{i}"
        yield _conv(f"{block}.up", f"{block}.up")
        if i < len(efficientnet.FEATURES) - 1:
            yield _conv(f"{block}.skip", f"{block}.skip")
        yield _norm(f"{block}.bn1", f"{block}.bn1")
        yield _conv(f"{block}.conv", f"{block}.conv")
        yield _norm(f"{block}.bn2", f"{block}.bn2")
    yield _conv("classifier", "classifier")


def _fcn8() -> Iterator[Pair]:
    yield from _vgg16("pretrained_net.", "encoder.")
    for i in range(5):
        yield Pair(f"deconv{i + 1}", f"up.{i}.conv", Kind.TRANSPOSED)
        yield _norm(f"bn{i + 1}", f"up.{i}.bn")
    yield _conv("classifier", "classifier")


def _fc_densenet() -> Iterator[Pair]:
    def block(torch: str, flax: str, count: int) -> Iterator[Pair]:
        for i in range(count):
            yield _norm(f"{torch}.layers.{i}.norm", f"{flax}.layers.{i}.bn")
            yield _conv(f"{torch}.layers.{i}.conv", f"{flax}.layers.{i}.conv")

    yield _conv("firstconv", "first")
    for i, count in enumerate(fc_densenet.DOWN_LAYERS):
        yield from block(f"denseBlocksDown.{i}", f"down.{i}", count)
        yield _norm(f"transDownBlocks.{i}.norm", f"transitions_down.{i}.layer.bn")
        yield _conv(f"transDownBlocks.{i}.conv", f"transitions_down.{i}.layer.conv")
    yield from block("bottleneck.bottleneck", "bottleneck", fc_densenet.BOTTLENECK_LAYERS)
    for i, count in enumerate(fc_densenet.DOWN_LAYERS[::-1]):
        yield Pair(f"transUpBlocks.{i}.convTrans", f"transitions_up.{i}", Kind.TRANSPOSED)
        yield from block(f"denseBlocksUp.{i}", f"up.{i}", count)
    yield _conv("finalConv", "classifier")


def _unet() -> Iterator[Pair]:
    def double(torch: str, flax: str) -> Iterator[Pair]:
        for j, (conv, norm) in enumerate([(0, 1), (3, 4)], start=1):
            yield _conv(f"{torch}.conv.{conv}", f"{flax}.conv{j}")
            yield _norm(f"{torch}.conv.{norm}", f"{flax}.bn{j}")

    scales = len(unet.CHANNELS)
    for i in range(scales):
        yield from double(f"Conv{i + 1}", f"encoder.{i}")
    for i in range(scales - 1):
        level = scales - i  # PyTorch counts from the coarsest scale, 5, down to 2
        yield _conv(f"Up{level}.up.1", f"up.{i}.conv")
        yield _norm(f"Up{level}.up.2", f"up.{i}.bn")
        yield from double(f"Up_conv{level}", f"decoder.{i}")
    yield _conv("Conv_1x1", "classifier")


def _segnet() -> Iterator[Pair]:
    for part in ("encoder", "decoder"):
        for i in range(5):
            for j in range(1 if (part, i) == ("decoder", 4) else 2):
                block, path = f"{part}s.{i}.features", f"{part}.{i}.layers.{j}"
                yield _conv(f"{block}.{3 * j}", f"{path}.conv")
                yield _norm(f"{block}.{3 * j + 1}", f"{path}.bn")
    yield _conv("classifier", "classifier")


def _psp_segnet() -> Iterator[Pair]:
    yield _conv("conv1", "encoder.stem.conv")
    yield _norm("bn0", "encoder.stem.bn")
    yield from _resnet101_stages("encoder.")
    for i in range(4):
        yield _conv(f"ppm.features.{i}.1", f"ppm.branches.{i}.conv")
        yield _norm(f"ppm.features.{i}.2", f"ppm.branches.{i}.bn")
    yield _conv("conv_after_ppm", "conv_after_ppm")
    for i in range(5):
        yield _conv(f"upsample{i + 1}.conv1", f"up.{i}.conv")
        yield _norm(f"upsample{i + 1}.bn", f"up.{i}.bn")
    for i, name in enumerate(("fs1", "fs2", "fs4", "fs5")):
        yield _conv(f"{name}.conv", f"fuse.{i}.conv")
        yield _norm(f"{name}.bn", f"fuse.{i}.bn")
    yield _conv("out5.0", "classifier")
    yield _conv("out5.1", "smooth")


def _self_correction() -> Iterator[Pair]:
    def conv_norm(conv: str, norm: str, flax: str) -> Iterator[Pair]:
        yield _conv(conv, f"{flax}.conv")
        yield _norm(f"{norm}.bn", f"{flax}.bn")

    yield from _deep_stem("encoder.")
    yield from _resnet101_stages("encoder.")
    for i in range(4):
        stage = f"context_encoding.stages.{i}"
        yield from conv_norm(f"{stage}.1", f"{stage}.2", f"context.ppm.branches.{i}")
    bottleneck = "context_encoding.bottleneck"
    yield from conv_norm(f"{bottleneck}.0", f"{bottleneck}.1", "context.bottleneck")
    yield from conv_norm("decoder.conv1.0", "decoder.conv1.1", "parsing.conv_context")
    yield from conv_norm("decoder.conv2.0", "decoder.conv2.1", "parsing.conv_fine")
    yield from conv_norm("decoder.conv3.0", "decoder.conv3.1", "parsing.conv1")
    yield from conv_norm("decoder.conv3.2", "decoder.conv3.3", "parsing.conv2")
    yield _conv("decoder.conv4", "parsing.classifier")
    for i in range(3):
        yield from conv_norm(f"edge.conv{i + 1}.0", f"edge.conv{i + 1}.1", f"edge.convs.{i}")
    yield _conv("edge.conv4", "edge.shared")
    yield _conv("edge.conv5", "edge.classifier")
    yield from conv_norm("fusion.0", "fusion.1", "fusion.conv")
    yield _conv("fusion.3", "fusion.classifier")


class Published(NamedTuple):
    """A network with a PyTorch twin: its name, its Flax class, its table. Subclasses come first."""

    name: str
    network: type[nnx.Module]
    table: Table


PUBLISHED = (
    Published("fcn8", FCN, tuple(_fcn8())),  # fcn16 and fcn32, too: they have the same weights
    Published("fc_densenet", FCDenseNet, tuple(_fc_densenet())),
    Published("unet", UNet, tuple(_unet())),
    Published("segnet", SegNet, tuple(_segnet())),
    Published("psp_segnet", PSPSegNet, tuple(_psp_segnet())),
    Published("self_correction", CE2P, tuple(_self_correction())),
    Published("efficient_unet_half", EfficientUNetHalf, tuple(_efficient_unet(len(HALF_SIZE)))),
    Published("efficient_unet", EfficientUNet, tuple(_efficient_unet(len(CHANNELS)))),
)

VGG16_TABLE: Table = tuple(_vgg16("", ""))
RESNET101_TABLE: Table = (_conv("conv1", "stem.conv"), _norm("bn1", "stem.bn"), *_resnet101_stages(""))
DEEP_STEM_RESNET101_TABLE: Table = (*_deep_stem(""), *_resnet101_stages(""))
EFFICIENTNET_LITE0_TABLE: Table = tuple(_efficientnet_lite0())


def table_of(model: nnx.Module) -> Table:
    """The table of a network.

    Raises:
      UserError: the model is none of the project's networks.
    """
    for published in PUBLISHED:
        if isinstance(model, published.network):
            return published.table
    raise UserError(f"no PyTorch counterpart of {type(model).__name__} is known")
