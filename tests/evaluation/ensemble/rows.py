"""Maps and label maps one pixel high, so that a test can be read off their columns."""

import numpy as np

from nucseg_jax.instances import NucleusMap


def row(*values):
    """A label map one pixel high."""
    return np.array([values], dtype=np.int32)


def pixels(*probabilities, boundary=None):
    """A nucleus map one pixel high."""
    edge = None if boundary is None else np.array([boundary], np.float32)
    return NucleusMap(np.array([probabilities], np.float32), edge)


def span(start, stop, width=24):
    """One nucleus, in columns start … stop - 1 of a row."""
    return intervals((start, stop), width=width)


def intervals(*ranges, width=24):
    """Nuclei 1, 2, …, each a range of columns of a row."""
    label_map = np.zeros((1, width), np.int32)
    for nucleus, (start, stop) in enumerate(ranges, 1):
        label_map[0, start:stop] = nucleus
    return label_map


def of_ids(label_map):
    """A map that `to_ids` splits into these very nuclei."""
    return NucleusMap(label_map.astype(np.float32))


def to_ids(_, nucleus_map):
    return nucleus_map.nucleus.astype(np.int32)


LEFT, SHORT_LEFT = (0, 10), (0, 8)
RIGHT, SHORT_RIGHT = (8, 18), (10, 18)  # LEFT and RIGHT dispute columns 8 and 9
TIE = [intervals(LEFT), intervals(LEFT, SHORT_RIGHT), intervals(SHORT_LEFT, RIGHT), intervals(RIGHT)]
