"""Label maps of square nuclei: a truth, and a prediction with every kind of error."""

import numpy as np

SIZE = 96


def squares(*boxes, size=SIZE):
    """A label map: nucleus i + 1 is the box (top, left, height, width) i."""
    label_map = np.zeros((size, size), np.int32)
    for i, (top, left, height, width) in enumerate(boxes):
        label_map[top : top + height, left : left + width] = i + 1
    return label_map


TRUTH = squares((8, 8, 16, 16), (8, 40, 16, 16), (40, 8, 16, 16), (40, 24, 16, 16), (72, 8, 16, 32))
# Right, missed, two merged, split in two, and one false.
FLAWED = squares((8, 10, 16, 16), (40, 8, 16, 32), (72, 8, 16, 15), (72, 24, 16, 16), (72, 72, 8, 8))
EMPTY = squares()
