"""Stain normalisation with staintools, for those who must continue old results, and its cache."""

import hashlib
import importlib.metadata
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.io.files import replacing
from nucseg_jax.io.images import pixel_sha256
from nucseg_jax.slides import read_image

# staintools lets the dictionary learning run for one second of wall time: another result on another
# machine, or on the same one when it is busy. A fixed number of steps (about that second) on one thread
# always gives the same image.
STEPS = 2000
TISSUE_LUMINOSITY = 0.8  # staintools' defaults
SPARSITY = 0.1


class StaintoolsNormalizer:
    """Vahadane et al., IEEE TMI 35(8), 2016, through staintools' StainNormalizer. See `normalize.Normalizer`.

    Args:
      target: uint8 [height, width, 3], the image whose stains the others get.
      name: of the target, for messages.
      cache: the folder that keeps the normalised images.

    Raises:
      MissingExtraError: staintools is not installed.
      DataError: the target has no stained tissue.
    """

    def __init__(self, target: np.ndarray, name: str, cache: Path) -> None:
        staintools = _import_staintools()
        self._normalizer = staintools.StainNormalizer(method="vahadane")
        self._normalizer.extractor = _Extractor
        self._cache = cache
        # All that the normalised pixels depend on, next to those of the source image.
        self.versions = {name: importlib.metadata.version(name) for name in ("staintools", "spams-bin")}
        self._recipe = (pixel_sha256(target), "vahadane", str(STEPS), *self.versions.values())
        try:
            with np.errstate(divide="raise", invalid="raise"):
                self._normalizer.fit(target.copy())  # staintools writes on what it is given
        except Exception as error:  # staintools, spams and NumPy each raise their own
            raise _no_stain(name, error) from error
        self.style = {
            "method": "vahadane",
            "matrix": self._normalizer.stain_matrix_target.tolist(),
            "max_concentrations": self._normalizer.maxC_target.ravel().tolist(),
        }
        self.fell_back: list[str] = []  # an image without stains is an error

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        """Normalise uint8 [height, width, 3], or take it from the cache.

        Args:
          image: RGB, at least some of it tissue.
          name: its id, for messages and the name in the cache.
        """
        key = hashlib.sha256(" ".join((pixel_sha256(image), *self._recipe)).encode()).hexdigest()
        path = self._cache / f"{name}-{key[:32]}.png"
        cached = _read_cached(path, image.shape)
        if cached is not None:
            return cached
        try:
            with np.errstate(divide="raise", invalid="raise"):
                normalized = self._normalizer.transform(image.copy())
        except Exception as error:  # staintools, spams and NumPy each raise their own
            raise _no_stain(name, error) from error
        _write(path, normalized)
        return normalized


class _Extractor:
    """staintools' VahadaneStainExtractor with a fixed number of steps."""

    @staticmethod
    def get_stain_matrix(image: np.ndarray) -> np.ndarray:
        """float64 [2, 3] of unit rows, hematoxylin first: the one that absorbs more red."""
        import spams
        from staintools.miscellaneous.miscellaneous_functions import normalize_matrix_rows
        from staintools.miscellaneous.optical_density_conversion import convert_RGB_to_OD
        from staintools.tissue_masks.luminosity_threshold_tissue_locator import (
            LuminosityThresholdTissueLocator,
        )

        tissue = LuminosityThresholdTissueLocator.get_tissue_mask(
            image, luminosity_threshold=TISSUE_LUMINOSITY
        )
        density = np.asfortranarray(convert_RGB_to_OD(image)[tissue].T)
        dictionary = spams.trainDL(
            X=density,
            K=2,
            lambda1=SPARSITY,
            mode=2,
            modeD=0,
            posAlpha=True,
            posD=True,
            verbose=False,
            iter=STEPS,
            numThreads=1,
        ).T
        hematoxylin_first = dictionary[np.argsort(-dictionary[:, 0], kind="stable")]
        return normalize_matrix_rows(hematoxylin_first)


def _import_staintools() -> ModuleType:
    try:
        import spams  # noqa: F401
        import staintools
    except ImportError as error:
        raise MissingExtraError("stain", error) from error
    return staintools


def _no_stain(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name}: staintools finds no two stains in this image ({type(error).__name__}: {error}). "
        "Is it blank, or no H&E? Leave it out, or prepare without --stain-backend staintools"
    )


def _read_cached(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The cached image, or None if there is none or it is damaged and must be made again."""
    try:
        image = read_image(path).pixels
    except DataError:
        return None
    return image if image.shape == shape else None


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=1)
