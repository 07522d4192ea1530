"""Other packages' stain normalisation for `benchmarks.stain`. They are imported when a function here runs."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import jax
import numpy as np

from benchmarks.measure import Side
from nucseg_jax.cores import usable_cores
from nucseg_jax.stain import NORMALIZERS

Transform = Callable[[np.ndarray], object]
"""uint8 [H, W, 3] in host memory → the image in the target's colours, in host memory."""

INSTALL = {
    "staintools": 'pip install -e ".[stain]" -c constraints.txt',
    "torchstain": "pip install torchstain",
    "torch-staintools": "pip install torch-staintools",
}
"""Package → the command that installs it."""


@dataclass(frozen=True)
class Contest:
    """Ours against a peer: the same method, target and image.

    Attributes:
      method: of ours, "vahadane" or "macenko".
      given: the image's stains are known before, its pixels are only mapped.
      peer: its name in the table.
      package: that the peer is in; "" where there is no peer.
      make: (target, image) → its transform, fitted; None where there is no peer.
    """

    method: str
    given: bool
    peer: str
    package: str
    make: Callable[[np.ndarray, np.ndarray], Transform] | None

    def ours(self, target: np.ndarray, image: np.ndarray) -> Transform:
        """Our transform, fitted."""
        normalizer = NORMALIZERS[self.method]().fit(target)
        if not self.given:
            return normalizer.transform
        source = normalizer.estimate(image).style
        return lambda pixels: normalizer.transform(pixels, source=source)


def side(transform: Transform, image: np.ndarray) -> Side:
    """After its first step, which compiles."""
    transform(image)
    return Side(lambda: transform(image))


def versions() -> dict[str, str | None]:
    """Of the peers, and of what they count on: None where one is not installed."""
    return {name: _version(name) for name in (*INSTALL, "spams-bin", "spams", "opencv-python", "torchvision")}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


class Steps:
    """staintools' own extraction of Vahadane's stains, with a number of steps instead of one second.

    Args:
      steps: of 512 pixels each.
      threads: −1: a thread a core, as staintools has it; 1: the same result each time.
    """

    def __init__(self, steps: int, threads: int = 1):
        self.steps = steps
        self.threads = threads

    def get_stain_matrix(self, image: np.ndarray) -> np.ndarray:
        """float64 [2, 3]."""
        import spams
        from staintools.stain_extraction.vahadane_stain_extractor import VahadaneStainExtractor

        # staintools calls it without `iter`: until one second has passed.
        learn = partial(spams.trainDL, iter=self.steps, numThreads=self.threads)
        with mock.patch.object(spams, "trainDL", learn):
            return VahadaneStainExtractor.get_stain_matrix(image)


class Known:
    """An extraction whose result is known before.

    Args:
      matrix: float64 [2, 3], the stain vectors.
      overheads: an extraction that is done all the same.
    """

    def __init__(self, matrix: np.ndarray, overheads: Steps | None = None):
        self.matrix = matrix
        self.overheads = overheads

    def get_stain_matrix(self, image: np.ndarray) -> np.ndarray:
        """float64 [2, 3]."""
        if self.overheads:
            self.overheads.get_stain_matrix(image)
        return self.matrix


def staintools_normalizer(method: str) -> Any:
    """staintools' StainNormalizer.

    Raises:
      ImportError: staintools, or the spams that it needs, is not installed.
    """
    import staintools

    return staintools.StainNormalizer(method)


def _staintools(target: np.ndarray, image: np.ndarray, method: str) -> Transform:
    normalizer = staintools_normalizer(method)
    normalizer.fit(target.copy())  # it writes on what it is given
    return lambda pixels: normalizer.transform(pixels.copy())


def _staintools_untimed(target: np.ndarray, image: np.ndarray) -> Transform:
    return _staintools_known(target, image, Steps(1, threads=-1))


def _staintools_known(target: np.ndarray, image: np.ndarray, overheads: Steps | None = None) -> Transform:
    """With stain vectors of the image that staintools has found before: the same work for the rest of it."""
    normalizer = staintools_normalizer("vahadane")
    normalizer.extractor = Steps(200)
    normalizer.fit(target.copy())
    normalizer.extractor = Known(normalizer.extractor.get_stain_matrix(image.copy()), overheads)
    return lambda pixels: normalizer.transform(pixels.copy())


def _torchstain(target: np.ndarray, image: np.ndarray, backend: str) -> Transform:
    from torchstain.base.normalizers import MacenkoNormalizer

    normalizer = MacenkoNormalizer(backend=backend)
    if backend == "numpy":
        normalizer.fit(target)
        return lambda pixels: normalizer.normalize(I=pixels, stains=False)
    torch, device = _torch()

    def planes(pixels: np.ndarray) -> Any:
        return torch.from_numpy(pixels).to(device).permute(2, 0, 1)

    normalizer.fit(planes(target))
    return lambda pixels: normalizer.normalize(I=planes(pixels), stains=False)[0].cpu()


def _torch_staintools(target: np.ndarray, image: np.ndarray, method: str) -> Transform:
    torch, device = _torch()
    from torch_staintools.normalizer import NormalizerBuilder

    normalizer = NormalizerBuilder.build(method, device=torch.device(device))

    def batch(pixels: np.ndarray) -> Any:
        return torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float() / 255.0

    normalizer.fit(batch(target))
    # Not normalizer(…): where that fails, it logs and returns its input.
    return lambda pixels: normalizer.transform(batch(pixels)).cpu()


def _torch() -> tuple[Any, str]:
    """torch with a thread a core, and its device."""
    import torch

    torch.set_num_threads(usable_cores())
    return torch, "cpu" if jax.devices()[0].platform == "cpu" else "cuda"


CONTESTS = tuple(
    Contest(method, given, peer, package, make)
    for method, given, peer, package, make in (
        ("vahadane", False, "staintools", "staintools", partial(_staintools, method="vahadane")),
        ("vahadane", False, "staintools without its timer", "staintools", _staintools_untimed),
        ("vahadane", True, "staintools, given too", "staintools", _staintools_known),
        ("macenko", False, "staintools", "staintools", partial(_staintools, method="macenko")),
        ("macenko", False, "torchstain, NumPy", "torchstain", partial(_torchstain, backend="numpy")),
        ("macenko", False, "torchstain, PyTorch", "torchstain", partial(_torchstain, backend="torch")),
        (
            "macenko",
            False,
            "torch-staintools",
            "torch-staintools",
            partial(_torch_staintools, method="macenko"),
        ),
        (
            "vahadane",
            False,
            "torch-staintools",
            "torch-staintools",
            partial(_torch_staintools, method="vahadane"),
        ),
    )
)
ALONE = tuple(
    Contest(method, given, "–", "", None)
    for method, given in (("vahadane", False), ("vahadane", True), ("macenko", False))
)
"""Ours where no peer is asked for."""
