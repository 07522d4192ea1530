"""Stain normalisation of the prepared images: by this package, or by staintools as earlier releases did."""

import importlib.metadata
import warnings
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nucseg_jax.errors import DataError
from nucseg_jax.stain import NORMALIZERS

METHODS = ("vahadane", "macenko", "reinhard", "none")
BACKENDS = ("jax", "staintools")


class StainWarning(UserWarning):
    """An image shows no stains, and was taken to have the target's."""


class Normalizer(Protocol):
    """What normalises the images of one dataset.

    Attributes:
      style: the fitted target, as `nucseg_jax.stain.from_dict` takes it.
      versions: of the packages that decide the pixels.
      fell_back: ids of the images that showed no stains.
    """

    style: dict[str, Any]
    versions: dict[str, str]
    fell_back: list[str]

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        """uint8 [height, width, 3] → the same in the target's colours; `name` is its id, for messages."""


def fit(method: str, backend: str, target: np.ndarray, name: str, cache: Path) -> Normalizer:
    """A normaliser fitted to a target image.

    Args:
      method: one of METHODS but "none".
      backend: one of BACKENDS.
      target: uint8 [height, width, 3], the image whose stains the others get.
      name: its id, for messages.
      cache: the folder in which staintools' images, seconds each, are kept between runs.

    Raises:
      DataError: the target has no stained tissue; or staintools with another method than Vahadane's.
      MissingExtraError: staintools is not installed.
    """
    if backend == "jax":
        return JaxNormalizer(method, target, name)
    from .staintools_backend import StaintoolsNormalizer

    if method != "vahadane":
        raise DataError(f"--stain-backend staintools does vahadane only, not {method}: leave it out")
    return StaintoolsNormalizer(target, name, cache)


class JaxNormalizer:
    """`nucseg_jax.stain`; an image without stains gets the target's, with a StainWarning."""

    def __init__(self, method: str, target: np.ndarray, name: str) -> None:
        try:
            self._normalizer = NORMALIZERS[method]().fit(target)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        self.style = self._normalizer.to_dict()
        self.versions = {"jax": importlib.metadata.version("jax")}
        self.fell_back: list[str] = []

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        normalized = self._normalizer.transform(image)
        if self._normalizer.fell_back:
            self.fell_back.append(name)
            warnings.warn(
                f"{name}: no hematoxylin and eosin to be seen (blank, of one colour, inked or too small); it "
                "was taken to have the target's stains",
                StainWarning,
                stacklevel=2,
            )
        return normalized
