"""Which patch of which image each training example is: pure arithmetic of (seed, step).

Every pipeline maps over these rows, so that any two of them cut the same pixels, and resuming at a
step needs nothing but its number.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
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

    An epoch holds, for each image, its tiles and its random crops, each once, in random order. With
    1024×1024 images, 512-pixel crops and 200 random ones an image this is the paper's (200 + 4) patches an
    image.

    Of an image that is annotated in part, no patch is planned without an annotated pixel: tiles without any
    are left out, and a random crop is one of those around an annotated pixel, drawn evenly from all of them.
    The more of a crop is annotated, the more often it comes. The annotated pixel lies `margin` pixels or more
    from the crop's sides, unless it is nearer to the image's.

    Attributes:
      seed: decides everything random here.
      sizes: (height, width) of each image in pixels.
      crop: side of the square patches in pixels.
      random_crops: random crops of every image alike, or a tuple with those of each.
      fresh: draw new random corners each epoch; otherwise each epoch repeats the first one's.
      turns: rotate by a random multiple of 90°.
      flips: mirror left-right with probability 1/2.
      annotated: for each image its annotated pixels (`packed_annotation`), or None where all are; empty: all
        pixels of all images are.
      margin: pixels along the sides of a patch that training may not show (`augmentation.hidden_margin`).
    """

    seed: int
    sizes: tuple[tuple[int, int], ...]
    crop: int
    random_crops: int | tuple[int, ...]
    fresh: bool = False
    turns: bool = False
    flips: bool = False
    annotated: tuple[bytes | None, ...] = ()
    margin: int = 0

    def __post_init__(self) -> None:
        if not self.sizes:
            raise UserError("no training image: every one is held out, or the split is empty")
        if len(self.crops_of_images) != len(self.sizes):
            raise ValueError(f"{len(self.crops_of_images)} numbers of crops for {len(self.sizes)} images")
        if self.annotated and len(self.annotated) != len(self.sizes):
            raise ValueError(f"{len(self.annotated)} annotations for {len(self.sizes)} images")

    @property
    def crops_of_images(self) -> tuple[int, ...]:
        """The number of random crops of each image."""
        if isinstance(self.random_crops, tuple):
            return self.random_crops
        return (self.random_crops,) * len(self.sizes)

    def __len__(self) -> int:
        """Patches an epoch."""
        return len(_patches(self, 0))

    def batch(self, step: int, batch_size: int) -> np.ndarray:
        """int32[batch_size, 5]: the rows of training step `step`, counted from 0."""
        positions = step * batch_size + np.arange(batch_size, dtype=np.int64)
        epochs, rows = np.divmod(positions, len(self))
        parts = [_epoch(self, int(e))[rows[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(parts)


def images_of_step(plan: PatchPlan, batch_size: int, ids: Sequence[str], step: int) -> list[str]:
    """The ids of the images that a step's patches are cut from, each once, in the plan's order.

    Args:
      plan: of the training.
      batch_size: patches a step.
      ids: of the plan's images.
      step: counted from 0.
    """
    return [ids[i] for i in np.unique(plan.batch(step, batch_size)[:, IMAGE])]


def packed_annotation(unannotated: np.ndarray | None) -> bytes | None:
    """The annotated pixels of an image in few bytes, for `PatchPlan`; None where all are.

    Args:
      unannotated: bool[H,W], not all true; or None.
    """
    if unannotated is None or not unannotated.any():
        return None
    return zlib.compress(np.packbits(~unannotated).tobytes())


def balanced_crops(
    sources: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    crop: int,
    random_crops: int,
    annotated: Sequence[bytes | None] = (),
) -> tuple[int, ...]:
    """Numbers of random crops with which every source has as many patches an epoch as the largest one.

    The largest source is the one with the most patches when all images have `random_crops` random crops
    beside their tiles. Its images keep those; the images of other sources get more, shared out evenly: those
    of one source differ by at most one.

    Args:
      sources: of each image.
      sizes: (height, width) of each image in pixels.
      crop: side of the square patches in pixels.
      random_crops: of each image of the largest source.
      annotated: of each image, as in `PatchPlan`.

    Returns:
      The number of random crops of each image, for `PatchPlan`.
    """
    images = Counter(sources)
    patches = Counter[str]()
    masks = _masks(annotated, sizes)
    for source, size, mask in zip(sources, sizes, masks, strict=True):
        patches[source] += len(_tiles(size, crop, mask)) + random_crops
    most = max(patches.values(), default=0)
    missing = {source: most - count for source, count in patches.items()}
    seen = Counter[str]()
    crops = []
    for source in sources:
        # The first images of a source get the ones that are left over.
        each, left_over = divmod(missing[source], images[source])
        crops.append(random_crops + each + (seen[source] < left_over))
        seen[source] += 1
    return tuple(crops)


def _generator(seed: int, purpose: int, epoch: int) -> np.random.Generator:
    """A counter-based stream: the epoch in the counter's top word keeps streams 2**192 draws apart."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, epoch]))


@lru_cache(maxsize=2)
def _patches(plan: PatchPlan, epoch: int) -> np.ndarray:
    """int32[N, 3]: image, top, left of an epoch's patches, in order of the images."""
    generator = _generator(plan.seed, _CORNERS, epoch)
    rows = []
    images = zip(plan.sizes, plan.crops_of_images, _masks(plan.annotated, plan.sizes), strict=True)
    for image, (size, count, mask) in enumerate(images):
        random = _random_corners(generator, plan, size, count, mask)
        corners = np.concatenate([_tiles(size, plan.crop, mask), random])
        rows.append(np.insert(corners, 0, image, axis=1))
    return np.concatenate(rows).astype(np.int32)


def _masks(
    annotated: Sequence[bytes | None], sizes: Sequence[tuple[int, int]]
) -> Iterator[np.ndarray | None]:
    """bool[H,W] of each image, true where it is annotated; None where it is everywhere."""
    for packed, (height, width) in zip(annotated or (None,) * len(sizes), sizes, strict=True):
        if packed is None:
            yield None
        else:
            bits = np.frombuffer(zlib.decompress(packed), np.uint8)
            yield np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)


def _tiles(size: tuple[int, int], crop: int, mask: np.ndarray | None) -> np.ndarray:
    """int[N, 2]: the corners of an image's tiles that have an annotated pixel."""
    corners = tiling.corners(*size, crop)
    if mask is None:
        return corners
    return corners[[bool(mask[y : y + crop, x : x + crop].any()) for y, x in corners]]


def _random_corners(
    generator: np.random.Generator,
    plan: PatchPlan,
    size: tuple[int, int],
    count: int,
    mask: np.ndarray | None,
) -> np.ndarray:
    """int[count, 2]: corners of an image's random crops."""
    room = np.array(size) - plan.crop + 1
    if mask is None:
        return generator.integers(0, room, size=(count, 2))
    pixels = np.argwhere(mask)
    drawn = pixels[generator.integers(0, len(pixels), size=count)]
    first = np.clip(drawn - plan.crop + 1 + plan.margin, 0, room - 1)
    last = np.clip(drawn - plan.margin, first, room - 1)
    return generator.integers(first, last, endpoint=True)


@lru_cache(maxsize=2)
def _epoch(plan: PatchPlan, epoch: int) -> np.ndarray:
    """int32[N, 5]: an epoch's rows in the order of training."""
    patches = _patches(plan, epoch if plan.fresh else 0)
    order = _generator(plan.seed, _ORDER, epoch).permutation(len(patches))
    symmetry = _generator(plan.seed, _SYMMETRY, epoch).integers(0, (4, 2), size=(len(patches), 2))
    symmetry *= (plan.turns, plan.flips)
    return np.concatenate([patches[order], symmetry], axis=1).astype(np.int32)
