"""Which patch of which image each training example is: pure arithmetic of (seed, step).

Every pipeline maps over these rows, so that any two of them cut the same pixels, and resuming at a
step needs nothing but its number.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nucseg_jax import tiling
from nucseg_jax.errors import UserError

# Purposes of the random streams, the second word of the Philox key.
_CORNERS, _ORDER, _SYMMETRY = 0, 1, 2

IMAGE, TOP, LEFT, TURNS, FLIP = range(5)
"""Columns of a row of the plan: image index, corner in pixels, quarter turns (0-3), flip (0 or 1)."""


@dataclass(frozen=True)
class PatchPlan:
    """The endless sequence of training patches, epoch after epoch.

    An epoch holds, for each image, its tiles and `random_crops` random crops, each once, in random
    order. With 1024×1024 images, 512-pixel crops and 200 random ones an image this is the paper's
    (200 + 4) patches an image.

    Attributes:
      seed: decides everything random here.
      sizes: (height, width) of each image in pixels.
      crop: side of the square patches in pixels.
      random_crops: random crops an image.
      fresh: draw new random corners each epoch; otherwise each epoch repeats the first one's.
      turns: rotate by a random multiple of 90°.
      flips: mirror left-right with probability 1/2.
    """

    seed: int
    sizes: tuple[tuple[int, int], ...]
    crop: int
    random_crops: int
    fresh: bool = False
    turns: bool = False
    flips: bool = False

    def __post_init__(self) -> None:
        if not self.sizes:
            raise UserError("no training image: every one is held out, or the split is empty")

    def __len__(self) -> int:
        """Patches an epoch."""
        return len(_patches(self, 0))

    def batch(self, step: int, batch_size: int) -> np.ndarray:
        """int32[batch_size, 5]: the rows of training step `step`, counted from 0."""
        positions = step * batch_size + np.arange(batch_size, dtype=np.int64)
        epochs, rows = np.divmod(positions, len(self))
        parts = [_epoch(self, int(e))[rows[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(parts)


def _generator(seed: int, purpose: int, epoch: int) -> np.random.Generator:
    """A counter-based stream: the epoch in the counter's top word keeps streams 2**192 draws apart."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, epoch]))


@lru_cache(maxsize=2)
def _patches(plan: PatchPlan, epoch: int) -> np.ndarray:
    """int32[N, 3]: image, top, left of an epoch's patches, in order of the images."""
    generator = _generator(plan.seed, _CORNERS, epoch)
    rows = []
    for image, (height, width) in enumerate(plan.sizes):
        room = (height - plan.crop + 1, width - plan.crop + 1)
        random = generator.integers(0, room, size=(plan.random_crops, 2))
        corners = np.concatenate([tiling.corners(height, width, plan.crop), random])
        rows.append(np.insert(corners, 0, image, axis=1))
    return np.concatenate(rows).astype(np.int32)


@lru_cache(maxsize=2)
def _epoch(plan: PatchPlan, epoch: int) -> np.ndarray:
    """int32[N, 5]: an epoch's rows in the order of training."""
    patches = _patches(plan, epoch if plan.fresh else 0)
    order = _generator(plan.seed, _ORDER, epoch).permutation(len(patches))
    symmetry = _generator(plan.seed, _SYMMETRY, epoch).integers(0, (4, 2), size=(len(patches), 2))
    symmetry *= (plan.turns, plan.flips)
    return np.concatenate([patches[order], symmetry], axis=1).astype(np.int32)
