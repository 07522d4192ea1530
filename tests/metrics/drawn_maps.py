"""Pairs of label maps, truth and prediction: a row of pixels by hand, and drawn ones of many kinds."""

import numpy as np


def row(*ids):
    """A label map one pixel high."""
    return np.array([ids], dtype=np.int32)


def gaps(rng, count, top):
    """Id of each of `count` nuclei, and 0 of the background: no order, gaps, up to `top`."""
    return np.concatenate([[0], rng.choice(np.arange(1, 3 * count + 1), count, replace=False) * (top // 3)])


def blocks(rng):
    """At most 4 nuclei of 3×3 blocks: many ties, parts that do not touch, often empty."""
    ids = np.concatenate([[0], gaps(rng, 4, 3_000_000)])
    coarse = rng.integers(0, rng.integers(1, len(ids) + 1), (4, 5))
    truth = np.kron(ids[coarse], np.ones((3, 3), int))
    changed = np.where(rng.random(coarse.shape) < 0.3, rng.integers(0, len(ids), (4, 5)), coarse)
    prediction = np.kron(ids[::-1][changed] * (changed < rng.integers(0, 6)), np.ones((3, 3), int))
    return truth, np.roll(prediction, rng.integers(-1, 2, 2), axis=(0, 1))


def discs(rng):
    """Touching discs, and the same moved, of other sizes, some left out, with other ids."""
    count = int(rng.integers(1, 25))
    centres, radii = rng.uniform(0, 50, (count, 2)), rng.uniform(2, 8, count)
    truth = draw_discs(centres, radii)
    found = rng.random(count) < 0.9
    centres = centres + rng.normal(0, rng.uniform(0, 3), (count, 2))
    prediction = draw_discs(centres, radii * rng.uniform(0.7, 1.2, count) * found)
    return gaps(rng, count, 60_000)[truth], gaps(rng, count, 60_000)[prediction].astype(np.uint16)


def draw_discs(centres, radii):
    y, x = np.mgrid[:50, :52]
    label_map = np.zeros(y.shape, int)
    for number, ((row, column), radius) in enumerate(zip(centres, radii, strict=True), start=1):
        label_map[(y - row) ** 2 + (x - column) ** 2 < radius**2] = number
    return label_map


def tessellations(rng):
    """Cells without background; the predicted ones have moved, and one of them is background."""
    seeds = rng.uniform(0, 40, (int(rng.integers(2, 20)), 2))
    moved = seeds + rng.normal(0, 2, seeds.shape)
    y, x = np.mgrid[:40, :41]
    truth, prediction = (
        np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0) for points in (seeds, moved)
    )
    return gaps(rng, len(seeds), 3)[truth + 1], prediction * 10**12


def noise(rng):
    """Every pixel for itself: every pair of nuclei overlaps."""
    ids = gaps(rng, 8, 3000)
    return rng.choice(ids, (30, 31)), rng.choice(ids[: rng.integers(1, 9)], (30, 31))


def strangers(rng):
    """Discs that have nothing to do with each other: many of several small overlaps, or none."""
    count = int(rng.integers(1, 12))
    maps = [
        draw_discs(rng.uniform(0, 50, (n, 2)), rng.uniform(2, 9, n)) for n in (count, rng.integers(0, 12))
    ]
    return maps[0], maps[1] * 7
