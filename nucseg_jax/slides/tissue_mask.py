"""What a slide shows where: tissue, glass, or what hides tissue, by the light that each takes.

Pens, black and the rest are told apart by colour, and the rules are careful: to lose tissue is worse than to
miss a pen. On all tissue of MoNuSeg, CoNSeP and OpenSlide's CMU-1-Small-Region, at MASK_MPP, each rule has a
wide margin, which `_ink` and `_black` name.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.errors import UserError, in_short, listed

MASK_MPP = 8.0
"""µm a pixel of a thumbnail that shows tissue well enough: a nucleus is a pixel."""


class Kind(IntEnum):
    """What a pixel of the thumbnail shows; all from PEN on are masked.

    PEN: ink of a colour that no stain has. BLACK: borders, never-scanned areas, black pens and pigment.
    FILL: what a program filled in, white or grey. FOLD: coloured, but so dense that hardly any light passes.
    """

    GLASS = 0
    TISSUE = 1
    PEN = 2
    BLACK = 3
    FILL = 4
    FOLD = 5


MASKABLE = tuple(kind.name.lower() for kind in Kind if kind > Kind.TISSUE)
"""Names of what can be masked, as settings have them."""

# Optical density (base e) over that of the slide's glass, mean of the three colours: pale eosin has 0.1,
# glass with its shading and the noise of JPEG less than 0.02.
_LEAST_DENSITY = 0.04
# Of a glass pixel: how bright it is in its darkest colour, and how far its colours are apart.
_DARKEST_GLASS, _MOST_COLOURED_GLASS = 200, 16
_LEAST_GLASS = 0.01  # of the thumbnail without fill: fewer bright pixels are vessels and gaps, or noise
# Beside fill, glass is told from pale tissue with more care: the most grey levels from one pixel to the next,
# and between its colours.
_FLAT_GLASS, _MOST_COLOURED_BESIDE_FILL = 3.0, 10
_LEAST_WHITE_FILL = 254
_SMOOTHING_PX = 0.5  # no more: a nucleus alone among fat or mucus is one pixel
_SMOOTHING_REACH_PX = 2  # that the smoothing looks at: SciPy's ends at 4 standard deviations
_REACH_PX = 2  # added around tissue, so that no nucleus on its border is lost
_MARGIN_PX = 5  # around a strip: all that the rules look at
_FEWEST_NEIGHBOURS = 3  # of 3 × 3: one pixel of ink or black is a speck
_SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True)
class SlideKinds:
    """What is where on a slide.

    Attributes:
      kinds: uint8 [h, w] of `Kind`, the whole slide at about MASK_MPP µm a pixel.
    """

    kinds: NDArray[np.uint8]

    @property
    def tissue(self) -> NDArray[np.bool_]:
        """bool [h, w]: tissue itself, for areas."""
        return self.kinds == Kind.TISSUE

    @property
    def masked(self) -> NDArray[np.bool_]:
        """bool [h, w]: where no nucleus is reported."""
        return self.kinds > Kind.TISSUE

    @property
    def searched(self) -> NDArray[np.bool_]:
        """bool [h, w]: where nuclei are looked for: tissue and what is close to it, but nothing masked."""
        near = ndimage.binary_dilation(self.tissue, _SQUARE, iterations=_REACH_PX)
        return np.logical_and(near, self.kinds <= Kind.TISSUE, out=near)

    def shares(self) -> dict[str, float]:
        """The share of the slide that each kind covers, by its name in small letters."""
        counts = np.bincount(self.kinds.ravel(), minlength=len(Kind))
        return {kind.name.lower(): float(counts[kind] / self.kinds.size) for kind in Kind}


def slide_kinds(
    thumbnail: NDArray[np.uint8],
    masked: Collection[str] = MASKABLE,
    *,
    strip_px: int = 256,
    glass_pixels: int = 8_000_000,
) -> SlideKinds:
    """Tell what a picture of a whole slide shows where.

    The thresholds are fixed: one that the picture decides, as Otsu's, finds two classes in any. So an empty
    slide has no tissue, and a picture full of it is tissue everywhere. What surrounds ink, black, grey fill
    and folds within a pixel is of their kind: it is a mixture. Dust counts as tissue, and so do pens of the
    colours of the stains and folds that are no denser than other slides' tissue.

    Args:
      thumbnail: uint8 [h, w, 3] RGB at about MASK_MPP µm a pixel.
      masked: of MASKABLE; the others are not told from tissue and glass.
      strip_px: rows that are worked on at once; they change memory, not the result.
      glass_pixels: of a larger picture, that glass is looked for in.

    Raises:
      ValueError: no uint8 [h, w, 3].
      UserError: as `check_masked`.
    """
    if thumbnail.dtype != np.uint8 or thumbnail.ndim != 3 or thumbnail.shape[2] != 3:
        raise ValueError(f"thumbnail must be uint8 [h, w, 3], got {thumbnail.dtype} {thumbnail.shape}")
    check_masked(masked)
    wanted = {Kind[name.upper()] for name in masked}
    height, width = thumbnail.shape[:2]
    starts = range(0, height, strip_px)
    every = -(-height * width // glass_pixels)
    glass = _glass(lambda: (_Strip.of(thumbnail, start, strip_px) for start in starts[::every]))
    kinds = np.empty((height, width), np.uint8)
    for start in starts:
        strip = _Strip.of(thumbnail, start, strip_px)
        kinds[start : start + strip_px] = _kinds(strip, glass, wanted)[strip.rows]
    return SlideKinds(kinds)


def check_masked(masked: Collection[str]) -> None:
    """Raise UserError for a name in `instances.masked` that is none of MASKABLE."""
    if unknown := [in_short(name, 40) for name in masked if name not in MASKABLE]:
        raise UserError(
            f"instances.masked has {listed(unknown)}, but can have {', '.join(MASKABLE)} only: name some of "
            "these, or none"
        )


class _Strip(NamedTuple):
    """Rows of the thumbnail, of which large ones are not taken whole.

    Attributes:
      pixels: uint8 [h, w, 3] with the margin above and below that there is.
      light: float32 [3, h, w], the same, smoothed, at least 1.
      rows: of both that are the strip itself.
    """

    pixels: NDArray[np.uint8]
    light: NDArray[np.float32]
    rows: slice

    @classmethod
    def of(cls, thumbnail: NDArray[np.uint8], start: int, length: int) -> "_Strip":
        first, stop = max(0, start - _MARGIN_PX), min(start + length, thumbnail.shape[0])
        pixels = thumbnail[first : stop + _MARGIN_PX]
        light = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32)
        np.maximum(light, 1.0, out=light)
        light = ndimage.gaussian_filter(light, (0, _SMOOTHING_PX, _SMOOTHING_PX), mode="nearest")
        return cls(pixels, light, slice(start - first, stop - first))


def _kinds(strip: _Strip, glass: NDArray[np.float32], wanted: Collection[Kind]) -> NDArray[np.uint8]:
    """uint8 [h, w] of `Kind`, of a strip with its margins."""
    density = np.log(glass)[:, None, None] - np.log(strip.light)
    mean = density.mean(axis=0)
    is_tissue = mean > _LEAST_DENSITY
    kinds = np.where(is_tissue, np.uint8(Kind.TISSUE), np.uint8(Kind.GLASS))
    found = np.zeros_like(kinds)
    if Kind.FILL in wanted:
        found[_grey_fill(strip.pixels, is_tissue)] = Kind.FILL
    if Kind.FOLD in wanted:
        found[_without_specks(mean >= _FOLD)] = Kind.FOLD
    if Kind.PEN in wanted:
        found[_without_specks(_ink(density))] = Kind.PEN
    if Kind.BLACK in wanted:
        found[_without_specks(_black(strip.light, density, mean))] = Kind.BLACK
    if found.any():
        around = ndimage.maximum_filter(found, size=3, mode="constant")
        kinds = np.where(found, found, np.where(around, around, kinds))
    if Kind.FILL in wanted and glass.max() < _LEAST_WHITE_FILL:
        kinds[_white_fill(strip.pixels) & (found == 0)] = Kind.FILL
    return kinds


# The densest tissue in the data named above, keratin, has 1.8.
_FOLD = 2.0
_BLACK = 40.0


def _ink(density: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Colours that no mixture of hematoxylin and eosin has: blue and green pens, and a pure red.

    Hematoxylin takes more green than red, if little. A violet pen does so, too, and is not told from it.

    Args:
      density: [3, h, w] over that of glass.
    """
    red, green, blue = density
    # Where red is above 0.25 it stays below both bounds by 0.11 and more in all tissue of the data. The
    # second is for ink over tissue, which adds its green: tissue so dense takes far more green than red.
    blue_or_green = (red > 0.25) & (red > np.minimum(1.1 * green + 0.05, 0.9 * green + 0.2))
    # Red blood cells and eosin reach 0.7: only what passes red as glass does, and nothing else, is a pen.
    return blue_or_green | (np.minimum(green, blue) > red + 1.5)


def _black(
    light: NDArray[np.float32], density: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Nearly no light at all, or dark without colour.

    The darkest tissue in the data has a grey level of 56 in its brightest colour. Where the mean density is
    above 0.9 the densities of its colours differ by 0.28 of the mean or more.
    """
    coloured = np.ptp(density, axis=0)
    grey = ((mean > 0.9) & (coloured < 0.12 * mean)) | ((mean > 1.2) & (coloured < 0.2 * mean))
    return grey | (light.max(axis=0) <= _BLACK)


def _grey_fill(pixels: NDArray[np.uint8], is_tissue: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Squares of 3 × 3 pixels of one and the same grey, which no camera makes; those darker than glass."""
    red, green, blue = (pixels[..., i] for i in range(3))
    grey = (red == green) & (green == blue) & is_tissue
    if not grey.any():
        return grey
    same = ndimage.maximum_filter(red, size=3) == ndimage.minimum_filter(red, size=3)
    return _opened(grey, among=same) & is_tissue


def _white_fill(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Squares of 3 × 3 pixels of pure white; on a slide with darker glass something filled them in."""
    red, green, blue = (pixels[..., i] for i in range(3))
    white = np.minimum(np.minimum(red, green), blue) >= _LEAST_WHITE_FILL
    return _opened(white) if white.any() else white


def _opened(mask: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """The squares of 3 × 3 pixels that are wholly in a mask, and whose middle is among some pixels."""
    middles = ndimage.binary_erosion(mask, _SQUARE, border_value=1)
    if among is not None:
        middles &= among
    return ndimage.binary_dilation(middles, _SQUARE)


def _without_specks(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask without pixels that are nearly alone."""
    if not found.any():
        return found
    count = ndimage.convolve(found.astype(np.uint8), _SQUARE.astype(np.uint8), mode="constant")
    return found & (count >= _FEWEST_NEIGHBOURS)


def _glass(strips: Callable[[], Iterable[_Strip]]) -> NDArray[np.float32]:
    """float32 [3]: the colour of empty glass; white where the picture shows none.

    Args:
      strips: makes them, evenly spaced if the picture is large.
    """
    bright, white, seen = [], 0, 0
    for strip in strips():
        light = strip.light[:, strip.rows]
        bright.append(light[:, _may_be_glass(light)])
        white += int(_white_fill(strip.pixels)[strip.rows].sum())
        seen += int((light.max(axis=0) > _BLACK).sum())
    # White beside even, darker glass is no glass: a viewer or a scanner filled it in.
    if white:
        beside = np.concatenate([_beside_fill(strip) for strip in strips()], axis=1)
        if beside.shape[1] >= max(1, _LEAST_GLASS * (seen - white)):
            return _brightest(beside)
    all_bright = np.concatenate(bright, axis=1)
    if all_bright.shape[1] < max(1, _LEAST_GLASS * seen):
        return np.full(3, 255.0, np.float32)
    return _brightest(all_bright)


def _may_be_glass(
    light: NDArray[np.float32], most_coloured: float = _MOST_COLOURED_GLASS
) -> NDArray[np.bool_]:
    """Bright pixels without much colour: bool [h, w] of light [3, h, w]."""
    return (light.min(axis=0) >= _DARKEST_GLASS) & (np.ptp(light, axis=0) <= most_coloured)


def _beside_fill(strip: _Strip) -> NDArray[np.float32]:
    """float32 [3, N]: the light of a strip's pixels that are glass if there is white fill, too."""
    brightness = strip.light.mean(axis=0)
    step = ndimage.maximum_filter(brightness, size=3) - ndimage.minimum_filter(brightness, size=3)
    fill = _white_fill(strip.pixels)
    near = ndimage.binary_dilation(fill, _SQUARE, iterations=_SMOOTHING_REACH_PX) if fill.any() else fill
    is_glass = _may_be_glass(strip.light, _MOST_COLOURED_BESIDE_FILL) & (step <= _FLAT_GLASS) & ~near
    return strip.light[:, strip.rows][:, is_glass[strip.rows]]


def _brightest(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of glass among pale tissue: glass is brighter, so its colour is that of the upper part."""
    brightness = light.mean(axis=0)
    return np.median(light[:, brightness >= np.quantile(brightness, 0.75)], axis=1).astype(np.float32)
