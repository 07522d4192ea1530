"""Rectangles of pixels of the network's level."""

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels of the network's level."""

    top: int
    left: int
    bottom: int
    right: int

    def grown(self, reach: int, shape: tuple[int, int]) -> "Box":
        """Larger by `reach` on each side, within an image."""
        return Box(
            max(0, self.top - reach),
            max(0, self.left - reach),
            min(shape[0], self.bottom + reach),
            min(shape[1], self.right + reach),
        )

    def holds(self, y: int, x: int) -> bool:
        return self.top <= y < self.bottom and self.left <= x < self.right

    def within(self, other: "Box") -> "Box":
        """The same rectangle, counted from another's corner."""
        return Box(
            self.top - other.top, self.left - other.left, self.bottom - other.top, self.right - other.left
        )

    def common(self, other: "Box") -> "Box":
        """What two rectangles share; it may be empty."""
        return Box(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def longest(self) -> int:
        return max(self.bottom - self.top, self.right - self.left)
