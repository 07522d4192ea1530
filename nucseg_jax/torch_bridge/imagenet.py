"""ImageNet weights of the encoders, from files in torchvision's format."""

from pathlib import Path

from flax import nnx

from nucseg_jax.errors import UserError
from nucseg_jax.models.fcn8 import FCN
from nucseg_jax.models.psp_segnet import PSPSegNet
from nucseg_jax.models.self_correction import SelfCorrection
from nucseg_jax.torch_bridge.files import read_state_dict
from nucseg_jax.torch_bridge.tables import DEEP_STEM_RESNET101_TABLE, RESNET101_TABLE, VGG16_TABLE
from nucseg_jax.torch_bridge.weights import ConversionError, load_by_table

ENCODERS = {
    FCN: ("torchvision's VGG-16 (vgg16-….pth, without batch norm)", VGG16_TABLE, ("classifier.",)),
    PSPSegNet: ("torchvision's ResNet-101 (resnet101-….pth, 7×7 stem)", RESNET101_TABLE, ("fc.",)),
    SelfCorrection: (
        "the self-correction authors' ResNet-101 (resnet101-imagenet.pth, stem of three 3×3 convolutions)",
        DEEP_STEM_RESNET101_TABLE,
        ("fc.",),
    ),
}
"""Network → its encoder's file, the table, the keys of the classifier that is left out."""


def load_encoder(model: nnx.Module, path: Path) -> None:
    """Put ImageNet weights into a network's encoder, in place.

    They were trained on RGB images normalised by ImageNet's mean and deviation; like the paper's authors,
    this project feeds the encoder images in [0, 1] and lets the training adapt it.

    Args:
      model: a network with an encoder of ENCODERS, of full width.
      path: the file; the fully connected classifier in it is left out.

    Raises:
      UserError: the network has no such encoder, or the file is another's; the message says which one.
    """
    found = [entry for network, entry in ENCODERS.items() if isinstance(model, network)]
    if not found:
        raise UserError(f"{type(model).__name__} has no ImageNet encoder: leave model.encoder_weights out")
    file, table, classifier = found[0]
    try:
        load_by_table(model.encoder, table, read_state_dict(path), ignored=classifier)  # type: ignore[attr-defined]
    except ConversionError as error:
        raise ConversionError(f"{path} is not {file}, or model.width is not 1: {error}") from error
