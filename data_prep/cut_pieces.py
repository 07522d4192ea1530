"""Which pieces of a slide are cut out, and which objects each of them gets.

The box of a region, in whole pixels, grows by a margin. Boxes that then overlap are one piece. Their common
box may overlap a further one, which joins them, so that no pixel is in two pieces. A region in several parts
has a box for each part, and belongs to the pieces of all.

An object belongs to a piece if it reaches the middles of the piece's pixels. The other objects in a drawn
nucleus come with it: they show that its outline is no region (`geojson_objects`, rule 5).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from nucseg_jax.io.geojson_files import Feature

from .geojson_objects import Objects


class Piece(NamedTuple):
    """A rectangle of a slide, in base pixels, and the features of the regions in it, by their numbers."""

    top: int
    left: int
    bottom: int
    right: int
    regions: frozenset[int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    def corner(self, scale: float) -> tuple[int, int]:
        """(left, top) of its image, in pixels of it from the slide's corner.

        Args:
          scale: pixels of the image a base pixel.
        """
        return math.floor(self.left * scale), math.floor(self.top * scale)

    def scaled(self, scale: float) -> tuple[int, int]:
        """(height, width) of its image: whole pixels, which hold all of the piece."""
        left, top = self.corner(scale)
        return math.ceil(self.bottom * scale) - top, math.ceil(self.right * scale) - left

    def overlaps(self, other: Self) -> bool:
        """Whether a pixel is in both."""
        rows = max(self.top, other.top) < min(self.bottom, other.bottom)
        return rows and max(self.left, other.left) < min(self.right, other.right)


def pieces_of(found: Objects, size: tuple[int, int], margin_px: int) -> list[Piece]:
    """The pieces of a slide, in the order of their first regions.

    Args:
      found: all objects of the slide, in base pixels.
      size: (height, width) of the slide; pieces end at its borders.
      margin_px: that boxes of regions grow by, on each side.
    """
    pieces: list[Piece] = []
    for number, area in found.areas("region").items():
        for part in shapely.get_parts(area):
            new = _grown(part, size, margin_px, number)
            if min(new.size) < 1:  # off the slide
                continue
            while met := [piece for piece in pieces if piece.overlaps(new)]:
                pieces = [piece for piece in pieces if piece not in met]
                new = _joined([*met, new])
            pieces.append(new)
    return sorted(pieces, key=lambda piece: (min(piece.regions), piece))


def _grown(area: BaseGeometry, size: tuple[int, int], margin_px: int, number: int) -> Piece:
    left, top, right, bottom = area.bounds
    return Piece(
        max(0, math.floor(top) - margin_px),
        max(0, math.floor(left) - margin_px),
        min(size[0], math.ceil(bottom) + margin_px),
        min(size[1], math.ceil(right) + margin_px),
        frozenset([number]),
    )


def _joined(pieces: Sequence[Piece]) -> Piece:
    return Piece(
        min(piece.top for piece in pieces),
        min(piece.left for piece in pieces),
        max(piece.bottom for piece in pieces),
        max(piece.right for piece in pieces),
        frozenset[int]().union(*(piece.regions for piece in pieces)),
    )


class ObjectsByPlace:
    """The nuclei and ignored areas of a slide, looked up by their place.

    Args:
      features: of the slide's file.
      found: the same, sorted.
    """

    def __init__(self, features: Sequence[Feature], found: Objects):
        areas = found.areas("nucleus") | found.areas("ignored")
        drawn = {feature.number for feature in features if feature.kind == "annotation"}
        self._numbers = list(areas)
        self._areas = np.array(list(areas.values()), dtype=object)
        self._may_hold = [found.kinds[n] == "nucleus" and n in drawn for n in self._numbers]
        self._outlines = shapely.STRtree(self._areas)
        self._middles = shapely.STRtree(shapely.centroid(self._areas))

    def within(self, piece: Piece) -> set[int]:
        """The numbers of the features that belong to a piece."""
        half = 0.5  # pixels, to the middles of those at the border
        box = shapely.box(piece.left + half, piece.top + half, piece.right - half, piece.bottom - half)
        new = set(self._outlines.query(box, predicate="intersects").tolist())
        kept = set(new)
        while new:
            holding = self._areas[[i for i in sorted(new) if self._may_hold[i]]]
            new = set(self._middles.query(holding, predicate="contains")[1].tolist()) - kept
            kept |= new
        return {self._numbers[i] for i in kept}
