"""A PyTorch network as an ONNX model."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from nucseg_jax.errors import MissingExtraError

try:
    import onnxscript  # noqa: F401 - what torch.onnx writes models with
    import torch
    from torch.nn import functional as F
except ImportError as error:
    raise MissingExtraError("onnx", error) from error

IMAGES, LOGITS = "images", "logits"
"""What a model's input and its output are called."""


class FromPixels(torch.nn.Module):
    """A network with the layout of `FunctionalNetwork.predict`: uint8[B,H,W,3] RGB → logits [B,H,W,C].

    Args:
      network: float[B,3,h,w] in [0, 1] → logits [B,C,h,w].
      channel_order: of the images that it takes: RGB or BGR.
      scale: size at which it sees them; its logits are scaled back.
    """

    def __init__(self, network: torch.nn.Module, channel_order: str = "RGB", scale: float = 1.0):
        super().__init__()
        self.network, self.order, self.scale = network, channel_order, scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.permute(0, 3, 1, 2).float() / 255.0
        x = x if self.order == "RGB" else x.flip(1)
        size = list(x.shape[2:])
        logits = self.network(_resize(x, [round(side * self.scale) for side in size]))
        return _resize(logits, size).permute(0, 2, 3, 1)


def _resize(x: torch.Tensor, size: list[int]) -> torch.Tensor:
    """Bilinear between pixel centres, as `models.network` does it: [B,C,H,W] → [B,C,*size]."""
    if list(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def onnx_model(network: torch.nn.Module, shape: tuple[int, int, int, int]) -> Any:
    """The ONNX model of a network, an `onnx.ModelProto`: IMAGES → LOGITS.

    Args:
      network: takes and gives what `FromPixels` does.
      shape: of the images, [B,H,W,3].
    """
    with _silent():
        program = torch.onnx.export(
            network.eval(),
            (torch.from_numpy(np.zeros(shape, np.uint8)),),
            dynamo=True,
            verbose=False,
            input_names=[IMAGES],
            output_names=[LOGITS],
        )
    assert program is not None  # it is with dynamo
    return program.model_proto


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what PyTorch's exporter says of itself: packages that it lacks, what it will no longer take."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
