"""Batches of nuclei; and the shapes and helpers that the other tests of exporters use."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.export.batches import MOST_CANVAS_PX, MOST_NUCLEI, Batch, Gathering
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
            nuclei.append(Nucleus(len(nuclei) + 1, top, left, mask, generator.random(), generator.random()))
    return nuclei


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("nucleus", "message"),
    [
        (Nucleus(0, 0, 0, np.ones((1, 1), bool), 0.5), "id .* got 0"),
        (Nucleus(2**31, 0, 0, np.ones((1, 1), bool), 0.5), "id .* got 2147483648"),
        (Nucleus(7, 0, 0, np.ones((1, 1), np.uint8), 0.5), "nucleus 7 must be bool"),
        (Nucleus(7, 0, 0, np.ones(3, bool), 0.5), r"nucleus 7 must be bool \[h, w\]"),
        (Nucleus(7, 0, 0, np.zeros((2, 2), bool), 0.5), "nucleus 7 has no pixel"),
        (Nucleus(7, 299, 0, np.ones((2, 2), bool), 0.5), "nucleus 7.* row 299.* 300 x 400"),
        (Nucleus(7, 0, -1, np.ones((2, 2), bool), 0.5), "nucleus 7.* column -1"),
    ],
)
def test_what_is_no_nucleus_is_refused(nucleus, message):
    with pytest.raises(ValueError, match=message):
        Batch([*nuclei_of([np.ones((1, 1), dtype=bool)]), nucleus], FRAME)


def test_runs_are_the_pixels():
    batch = Batch(many(50, FRAME), FRAME)
    found = [set() for _ in batch.nuclei]
    for nucleus, y, start, stop in zip(*(column.tolist() for column in batch.runs), strict=True):
        found[nucleus] |= {(y, x) for x in range(start, stop)}
    for pixels, nucleus in zip(found, batch.nuclei, strict=True):
        rows, columns = np.nonzero(nucleus.mask)
        assert pixels == set(
            zip((rows + nucleus.top).tolist(), (columns + nucleus.left).tolist(), strict=True)
        )


def test_gathering_keeps_order_and_bounds_the_canvas():
    frame = Frame((4000, 4000), 0.25, 0.25)
    sides = [10] * (MOST_NUCLEI + 5) + [3900] + [10] * 3 + [1000] * 6
    gathering = Gathering(frame)
    batches = []
    for index, side in enumerate(sides):
        full = gathering.add(Nucleus(index + 1, 0, 0, np.ones((side, side), dtype=bool), 0.5))
        batches += [full] if full else []
    batches.append(gathering.rest())
    assert gathering.rest() is None
    assert [int(i) for batch in batches for i in batch.ids] == list(range(1, len(sides) + 1))
    assert max(len(batch) for batch in batches) == MOST_NUCLEI
    assert all(batch.canvas.size <= MOST_CANVAS_PX + 10_000 or len(batch) == 1 for batch in batches)
