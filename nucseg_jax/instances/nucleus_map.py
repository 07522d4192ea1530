"""What a network says of an image's pixels, before nuclei are made of it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class NucleusMap(NamedTuple):
    """Probabilities of an image's pixels.

    Attributes:
      nucleus: float32 [H, W] in 0 … 1: that a pixel is of a nucleus, its boundary included.
      boundary: float32 [H, W] in 0 … 1: that it is of a nucleus's boundary; None from a network without that
        class.
    """

    nucleus: NDArray[np.float32]
    boundary: NDArray[np.float32] | None = None

    @classmethod
    def of_classes(cls, probabilities: NDArray[np.float32]) -> "NucleusMap":
        """float32 [H, W, C] of the classes background, nucleus and, with C = 3, boundary."""
        boundary = probabilities[..., 2] if probabilities.shape[-1] == 3 else None
        return cls(1.0 - probabilities[..., 0], boundary)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool [H, W]: pixels that are rather nucleus than not."""
        return self.nucleus > 0.5

    def resized(self, size: tuple[int, int]) -> "NucleusMap":
        """The same at another (height, width), bilinear between pixel centres."""
        if size == self.nucleus.shape:
            return self
        boundary = None if self.boundary is None else _resized(self.boundary, size)
        return NucleusMap(_resized(self.nucleus, size), boundary)


def _resized(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
