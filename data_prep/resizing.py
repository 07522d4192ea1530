"""Images and label maps of another size, which stay on one another."""

import numpy as np
from PIL import Image


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 [height, width, 3] to [size, size, 3].

    Pillow's bilinear filter: its pixel centres agree with those of `resize_labels`, it keeps uint8, and
    where the image shrinks it averages what it drops (enlarging, as here from 1000 to 1024, is plain
    bilinear interpolation).
    """
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_labels(labels: np.ndarray, size: int) -> np.ndarray:
    """Scale int32 [height, width] to [size, size]; no label is mixed.

    Where the map grows, each pixel has the label of the nearest. Where it shrinks, each has the label that
    most of its area has: the nearest pixel of two would be half a pixel too far right and down. Of two labels
    with the same area every second pixel has the one, the others the other, so that nuclei do not grow or
    move.
    """
    rows, columns = (_samples(side, size) for side in labels.shape)
    votes = np.stack([labels[np.ix_(row, column)] for row in rows for column in columns])
    counts = np.stack([(votes == vote).sum(axis=0, dtype=np.int32) for vote in votes])
    first, last = counts.argmax(axis=0), len(votes) - 1 - counts[::-1].argmax(axis=0)
    chosen = np.where(np.indices((size, size)).sum(axis=0) % 2 == 0, first, last)
    return np.take_along_axis(votes, chosen[None], axis=0)[0]


def resize_mask(mask: np.ndarray | None, size: int) -> np.ndarray | None:
    """Scale bool [height, width] to [size, size] as `resize_labels` does; None stays None."""
    return None if mask is None else resize_labels(mask.astype(np.int32), size).astype(bool)


def _samples(side: int, size: int) -> list[np.ndarray]:
    """Rows (or columns) that the pixels of a scaled map see: as many a pixel as it covers, evenly spread."""
    count = max(1, -(-side // size))
    points = (np.arange(size)[None] + (np.arange(count)[:, None] + 0.5) / count) * side / size
    return list(np.minimum(np.floor(points).astype(np.int64), side - 1))
