"""A slide of any size full of nuclei, drawn where it is read: no file, and no memory."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.slides import Slide
from nucseg_jax.slides.reader import Level, Resolution

MPP = 0.25
BLOCK_PX, PITCH_PX = 1024, 56
NUCLEI_A_BLOCK = (BLOCK_PX // PITCH_PX) ** 2
"""5,000 a mm², as in tumours."""

EOSIN, NUCLEUS = (220, 160, 190), (60, 200, 140)  # as `colour_network` reads them
_LEVELS = (1, 4, 16, 64)


def ragged(count: int = 50) -> list[NDArray[np.bool_]]:
    """Nuclei of about 40×40 pixels: ellipses with noise on their edges, each one piece."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-26:27, -26:27]
    masks = []
    for _ in range(count):
        a, b = generator.uniform((16, 12), (24, 20))
        angle = generator.uniform(0, np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        noise = ndimage.gaussian_filter(generator.normal(0, 1, x.shape), 2)
        labels, _ = ndimage.label((along / a) ** 2 + (across / b) ** 2 + noise < 1)
        mask = labels == labels[26, 26]
        masks.append(mask[ndimage.find_objects(mask.astype(np.uint8))[0]])
    return masks


def drawn_block() -> NDArray[np.bool_]:
    """bool [BLOCK_PX, BLOCK_PX]: NUCLEI_A_BLOCK nuclei, none of which touch, nor the block's border."""
    masks, generator = ragged(), np.random.default_rng(1)
    block = np.zeros((BLOCK_PX, BLOCK_PX), dtype=bool)
    corners = [i * PITCH_PX + 1 for i in range(BLOCK_PX // PITCH_PX)]
    for i, (top, left) in enumerate((top, left) for top in corners for left in corners):
        mask = masks[i % len(masks)]
        row, column = generator.integers(0, PITCH_PX - 1 - np.array(mask.shape))
        block[top + row : top + row + mask.shape[0], left + column : left + column + mask.shape[1]] = mask
    return block


class DrawnReader:
    """One drawn block again and again; see `slides.reader.Reader`.

    Args:
      blocks: along each side.
    """

    is_slide, offset = True, (0, 0)
    notes: tuple[str, ...] = ()

    def __init__(self, blocks: int):
        side = blocks * BLOCK_PX
        self.levels: tuple[Level, ...] = tuple(
            Level(side // n, side // n, float(n), float(n)) for n in _LEVELS
        )
        self.resolution = Resolution(MPP, "drawn")
        pixels = np.where(drawn_block()[..., None], np.array(NUCLEUS, np.uint8), np.array(EOSIN, np.uint8))
        # Twice along each side, so that most of what is read is a view.
        self._blocks = [np.tile(pixels[::n, ::n], (2, 2, 1)) for n in _LEVELS]

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        blocks, side = self._blocks[level], BLOCK_PX // _LEVELS[level]
        top, left = top % side, left % side
        if max(top + height, left + width) > len(blocks):
            again = -(-(top + height) // len(blocks)), -(-(left + width) // len(blocks)), 1
            blocks = np.tile(blocks, again)
        return blocks[top : top + height, left : left + width]

    def close(self) -> None:
        pass


def drawn_slide(blocks: int) -> Slide:
    """A slide of blocks² × NUCLEI_A_BLOCK nuclei, a square of blocks × BLOCK_PX pixels a side."""
    reader = DrawnReader(blocks)
    return Slide(Path(__file__), reader, reader.resolution)
