"""Nuclei of every shape, alone and many, and what exporters should make of them."""

from pathlib import Path

import numpy as np
import shapely
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.export.batches import Batch
from nucseg_jax.nuclei import Frame, Nucleus

FRAME = Frame(size=(300, 400), mpp=0.25, network_mpp=0.25)

SHAPES = {
    "pixel": ["#"],
    "row": ["###"],
    "block": ["###", "###"],
    "L": ["#..", "#..", "###"],
    "U": ["#.#", "#.#", "###"],
    "ring": ["###", "#.#", "###"],
    "two holes": ["#####", "#.#.#", "#####"],
    "holes that touch at a corner": ["####.", "#.###", "###.#", "..###"],
    "hole that touches the outside": [".###", "##.#", "####"],
    "hole that touches the outside on the other diagonal": ["###.", "#.##", "####"],
    "ends that touch at a corner": ["####", "#..#", "#.#.", "#.##", "####"],
    "chain of corners": ["####..", "#.####", "###.#.", "..####"],
    "checkers in a frame": ["#######", "#.#.#.#", "#######", "#.#.#.#", "#######"],
    "spiral": ["#####", "#...#", "#.#.#", "#.###", "#...."],
}
"""Name → rows of a mask, # = nucleus; each is 4-connected."""


def mask_of(name: str) -> NDArray[np.bool_]:
    return np.array([[character == "#" for character in row] for row in SHAPES[name]])


def nuclei_of(masks: list[NDArray[np.bool_]], *, pitch: int = 40) -> list[Nucleus]:
    """Nuclei 1, 2, … on a grid, none at the slide's edge; every second one without a stain."""
    return [
        Nucleus(
            id=index + 1,
            top=3 + pitch * (index // 8),
            left=5 + pitch * (index % 8),
            mask=mask,
            probability=0.5 + index / 1000,
            hematoxylin=None if index % 2 else 0.25,
            hematoxylin_contrast=None if index % 2 else 0.0625,
            hematoxylin_entropy_bits=None if index % 2 else 1.5,
            eosin_ring=None if index % 2 else 0.375,
        )
        for index, mask in enumerate(masks)
    ]


def batch_of(*masks: NDArray[np.bool_], frame: Frame = FRAME) -> Batch:
    return Batch(nuclei_of(list(masks)), frame)


def polygons(batch: Batch) -> list[shapely.Polygon]:
    """The outlines of each nucleus, in pixels of the network's level."""
    outlines = batch.outlines
    points = np.stack([outlines.x, outlines.y], axis=1)
    rings = [points[a:b] for a, b in zip(outlines.ring_start[:-1], outlines.ring_start[1:], strict=True)]
    first = outlines.nucleus_start
    return [shapely.Polygon(rings[a], rings[a + 1 : b]) for a, b in zip(first[:-1], first[1:], strict=True)]


def label_map_of(nuclei: list[Nucleus], frame: Frame) -> NDArray[np.int32]:
    labels = np.zeros(frame.network_size, dtype=np.int32)
    for nucleus in nuclei:
        height, width = nucleus.mask.shape
        part = labels[nucleus.top : nucleus.top + height, nucleus.left : nucleus.left + width]
        part[nucleus.mask] = nucleus.id
    return labels


@st.composite
def masks(draw: st.DrawFn, side: int = 12) -> NDArray[np.bool_]:
    """4-connected masks that touch all four sides of their crop, with many holes and corners."""
    shape = arrays.array_shapes(min_dims=2, max_dims=2, max_side=side)
    pixels = draw(arrays.arrays(bool, shape, elements=st.sampled_from([True, True, False])))
    assume(pixels.any())
    labels, _ = ndimage.label(pixels)
    return cropped(labels == np.bincount(labels.ravel())[1:].argmax() + 1)


def cropped(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without empty rows and columns around it."""
    return mask[ndimage.find_objects(mask.astype(np.uint8))[0]]


def many(count: int, frame: Frame, *, seed: int = 0) -> list[Nucleus]:
    """Ragged nuclei of about 12 px across at random places, without overlaps."""
    generator = np.random.default_rng(seed)
    height, width = frame.network_size
    free = np.ones((height, width), dtype=bool)
    y, x = np.mgrid[-7:8, -7:8]
    nuclei: list[Nucleus] = []
    while len(nuclei) < count:
        a, b = generator.uniform(3, 7, 2)
        labels, _ = ndimage.label((x / a) ** 2 + (y / b) ** 2 + generator.normal(0, 0.2, x.shape) < 1)
        mask = cropped(labels == labels[7, 7]) if labels[7, 7] else np.ones((2, 3), dtype=bool)
        top = int(generator.integers(0, height - mask.shape[0] + 1))
        left = int(generator.integers(0, width - mask.shape[1] + 1))
        window = free[top : top + mask.shape[0], left : left + mask.shape[1]]
        if window[mask].all():
            window[mask] = False
            values = generator.random(), generator.random(), 0.125, 2.5, 0.75
            nuclei.append(Nucleus(len(nuclei) + 1, top, left, mask, *values))
    return nuclei


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sampled(frame: Frame, labels: np.ndarray) -> np.ndarray:
    """What a label map of the network's level shows at the centre of each base pixel.

    A centre between two pixels is of the later one; one beyond the last, by rounding, is of the last.
    """
    rows, columns = (
        np.minimum(np.floor((np.arange(side) + 0.5) / frame.scale + 1e-6).astype(int), last - 1)
        for side, last in zip(frame.size, labels.shape, strict=True)
    )
    return labels[np.ix_(rows, columns)]
