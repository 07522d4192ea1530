"""Lay out a tissue section before it is stained: stroma, glands, lumens and the nuclei in them.

Polygons are in ImageScope coordinates: the pixel in row r and column c (counted from 0) has its
centre at x = c + 1, y = r + 1, as the MoNuSeg challenge's rasteriser takes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Array = np.ndarray
Stain = tuple[float, float, float]

# A candidate nucleus is refused where fewer of its pixels than this lie in the image.
MIN_VISIBLE_PX = 25
# Shares of overlap are taken of no more than this area, so that no large nucleus swallows a small.
OVERLAP_AREA_PX = 300


@dataclass(frozen=True)
class Organ:
    """How one organ looks at 40x; fractions in [0, 1], lengths in pixels, stains as RGB vectors."""

    hematoxylin: Stain
    eosin: Stain
    radius: float  # mean radius of an epithelial nucleus
    spread: float  # standard deviation of its logarithm
    elongation: float  # long axis / short axis
    crowding: float  # share of the epithelium that nuclei cover
    spacing: float  # a nucleus keeps clear of others within its outline scaled by this
    gland: float  # size of glands and nests
    stroma: float  # share of the image
    lumen: float  # share of the image
    cytoplasm: float  # eosin in epithelial cytoplasm
    basophilia: float  # hematoxylin in it
    tone: float  # hematoxylin of an ordinary nucleus
    vesicular: float  # share of nuclei with cleared chromatin and a marked rim
    clumps: float  # contrast of the chromatin
    membrane: float = 0.0  # eosin of cell borders
    loose: float = 0.0  # how far cells have come apart
    palisade: bool = False  # nuclei stand across the gland's wall
    lymphocytes: float = 0.0  # share of the stroma under lymphocytes
    blood: float = 0.0  # vessels for each megapixel
    mucin: float = 0.0  # share of the lumens with bluish mucin
    fat: float = 0.0  # round holes for each megapixel


@dataclass
class Nucleus:
    """A star-shaped outline and the look of what it holds."""

    polygon: Array  # float [N, 2], x and y, rounded as the annotation file holds them
    centre: tuple[float, float]
    radius: float
    epithelial: bool
    tone: float
    rim: float
    clumps: float
    softness: float  # width of the edge in px: 1 in focus
    nucleoli: int


@dataclass
class Patch:
    """A window on the image with, at each pixel, the place relative to one outline."""

    window: tuple[slice, slice]
    scale: Array  # 0 at the centre, 1 on the outline
    depth: Array  # px to the outline's nearest side, positive inside


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> Array:
    """Gaussian noise `float32 [size, size]`, mean 0, deviation 1, blobs about `scale` px across."""
    step = max(1, int(scale / 4))
    coarse_size = -(-size // step) + 2
    margin = int(np.ceil(scale / step)) + 1
    coarse = rng.standard_normal((coarse_size + 2 * margin,) * 2, dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, scale / step / 2)[margin:-margin, margin:-margin]
    position = np.arange(size, dtype=np.float32) / step
    low = position.astype(np.intp)
    weight = position - low
    rows = coarse[low] * (1 - weight)[:, None] + coarse[low + 1] * weight[:, None]
    field = rows[:, low] * (1 - weight) + rows[:, low + 1] * weight
    # Scaled by what the filter leaves of white noise, not by the field itself: a small image must
    # not be stretched to show every brightness.
    return np.asarray(field * (np.sqrt(np.pi) * scale / step), dtype=np.float32)


def sigmoid(x: Array) -> Array:
    """Logistic function without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def outline(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    elongation: float,
    angle: float,
) -> Array:
    """Return an ellipse bent by Fourier modes 2 to 6, `float64 [N, 2]` of x and y.

    `radius` is that of the circle of the ellipse's area; `angle` is the long axis's, in radians.
    """
    count = max(14, int(radius * 3.2))
    turn = np.arange(count) * (2 * np.pi / count)
    modes = np.arange(2, 7)
    amplitudes = 0.16 / modes**1.35 * rng.standard_normal(len(modes))
    phases = rng.uniform(0, 2 * np.pi, len(modes))
    bend = 1 + (amplitudes[:, None] * np.cos(modes[:, None] * turn + phases[:, None])).sum(0)
    bend = np.clip(bend, 0.6, 1.4) * radius
    long, short = bend * np.sqrt(elongation), bend / np.sqrt(elongation)
    u, v = long * np.cos(turn), short * np.sin(turn)
    x = centre[0] + u * np.cos(angle) - v * np.sin(angle)
    y = centre[1] + u * np.sin(angle) + v * np.cos(angle)
    return np.round(np.stack([x, y], axis=1), 2)


def locate(polygon: Array, centre: tuple[float, float], size: int, margin: float) -> Patch | None:
    """Place the pixels around a star-shaped polygon relative to it; None if none is there."""
    low = np.maximum(np.floor(polygon.min(0) - margin - 1).astype(int), 0)
    high = np.minimum(np.ceil(polygon.max(0) + margin).astype(int), size)
    if (low >= high).any():
        return None
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    x = np.arange(low[0], high[0])[None, :] + (1 - centre[0])
    y = np.arange(low[1], high[1])[:, None] + (1 - centre[1])
    corners = polygon - centre
    angles = np.arctan2(corners[:, 1], corners[:, 0])
    order = np.argsort(angles)
    corners, angles = corners[order], angles[order]
    sides = np.roll(corners, -1, axis=0) - corners
    reach = corners[:, 0] * sides[:, 1] - corners[:, 1] * sides[:, 0]
    # Side k spans the directions from corner k to the next, the last one across the turn of pi.
    side = np.searchsorted(angles, np.arctan2(y, x), side="right") - 1
    normal = sides / reach[:, None]
    scale = x * normal[side, 1] - y * normal[side, 0]
    return Patch(window, scale, (1 - scale) * (reach / np.hypot(sides[:, 0], sides[:, 1]))[side])


class Section:
    """One section before staining, drawn from `rng`, `size` px square.

    `nuclei` is in the order of annotation: where two overlap, the earlier one lies on top.
    """

    def __init__(self, rng: np.random.Generator, organ: Organ, size: int) -> None:
        self.rng, self.organ, self.size = rng, organ, size
        self._lay_out()
        self.nuclei: list[Nucleus] = []
        self._patches: list[Patch] = []
        self._place_nuclei()

    def placed(self) -> Iterator[tuple[Nucleus, Patch]]:
        """Each nucleus with its window, in the order of annotation."""
        return zip(self.nuclei, self._patches, strict=True)

    def noise(self, scale: float) -> Array:
        """Fresh `smooth_noise` of the section's size."""
        return smooth_noise(self.rng, self.size, scale)

    def _lay_out(self) -> None:
        """Divide the image into stroma, epithelium and lumen along the levels of one field."""
        organ, rng = self.organ, self.rng
        field = self.noise(organ.gland) + 0.12 * self.noise(organ.gland / 6)
        stroma, lumen = np.quantile(field, [organ.stroma, 1 - organ.lumen])
        # Larger glands have flatter fields: their borders are kept as narrow as those of small ones.
        steepness = organ.gland / 60
        ragged = 0.1 * self.noise(7)
        self.stroma = sigmoid((stroma - field) * 8 * steepness)
        self.lumen = sigmoid((field + ragged - lumen) * 30 * steepness)
        # 0 on the basement membrane, 1 at the lumen.
        self.apical = np.clip((field - stroma) / (lumen - stroma), 0, 1)
        down, right = np.gradient(field)
        self.wall_angle = np.arctan2(down, right)
        y, x = np.mgrid[: self.size, : self.size].astype(np.float32)
        tilt = rng.uniform(0, np.pi)
        across = y * np.cos(tilt) - x * np.sin(tilt) + 22 * self.noise(110) + 3 * self.noise(30)
        along = x * np.cos(tilt) + y * np.sin(tilt)
        down, right = np.gradient(across)
        self.fibre_angle = np.arctan2(-right, down)
        table = ndimage.gaussian_filter(rng.standard_normal((256, 256), dtype=np.float32), 1.2, mode="wrap")
        table /= table.std()
        fine, broad = (
            ndimage.map_coordinates(table, [across / w, along / n], order=1, mode="grid-wrap")
            for w, n in ((1.6, 16.0), (5.0, 55.0))
        )
        self.fibres = 0.6 * fine + 0.6 * broad

    def _pixel(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the image's pixel nearest to (x, y)."""
        limit = self.size - 1
        return min(max(round(y) - 1, 0), limit), min(max(round(x) - 1, 0), limit)

    def _candidate(self, x: float, y: float, epithelial: bool) -> Nucleus:
        """Draw the nucleus that would stand at (x, y)."""
        organ, rng = self.organ, self.rng
        row, col = self._pixel(x, y)
        lymphocyte = not epithelial and rng.random() < organ.lymphocytes
        if epithelial:
            radius = organ.radius * np.exp(organ.spread * rng.standard_normal())
            elongation = 1 + (organ.elongation - 1) * rng.gamma(4, 0.25)
            angle = self.wall_angle[row, col] + 0.25 * rng.standard_normal()
            if not organ.palisade:
                angle = rng.uniform(0, np.pi)
        elif lymphocyte:
            radius, elongation, angle = rng.normal(7.5, 0.6), rng.uniform(1, 1.2), rng.uniform(0, 3)
        else:
            radius = min(organ.radius, 11) * rng.uniform(0.6, 0.9)
            elongation = rng.uniform(1.8, 4)
            angle = self.fibre_angle[row, col] + 0.2 * rng.standard_normal()
        radius, elongation = min(max(float(radius), 5), 26), min(max(float(elongation), 1), 4.5)
        tone, rim, clumps = organ.tone * rng.normal(1, 0.14), 0.25, organ.clumps
        nucleoli = int(rng.integers(0, 2))
        if lymphocyte:
            tone, clumps, nucleoli = tone + 0.4, 0.25, 0
        elif rng.random() < organ.vesicular:
            tone, rim, clumps, nucleoli = 0.42 * tone, 1.15, 0.9 * clumps, int(rng.integers(1, 3))
        elif rng.random() < 0.16:
            tone, rim, clumps, nucleoli = 0.4 * tone, 0.35, 0.5 * clumps, 0
        softness = 4.0 if rng.random() < 0.1 else rng.uniform(1.0, 1.8)
        polygon = outline(rng, (x, y), radius, elongation, angle)
        return Nucleus(polygon, (x, y), radius, epithelial, tone, rim, clumps, softness, nucleoli)

    def _place_nuclei(self) -> None:
        """Throw nuclei at random; keep those that leave the others room, or overlap a little."""
        organ, rng, size = self.organ, self.rng, self.size
        taken = np.zeros((size, size), dtype=bool)
        # Room is counted in pixels of nucleus; the throws end when it is used or hard to find.
        room = {
            True: organ.crowding * float(((1 - self.stroma) * (1 - self.lumen)).sum()),
            False: (0.12 + 0.4 * organ.lymphocytes) * float(self.stroma.sum()),
        }
        for _ in range(int(size * size / organ.radius**2 * 1.6) + 40):
            x, y = rng.uniform(-3, size + 4, 2).tolist()
            row, col = self._pixel(x, y)
            clustered = rng.random() < 0.3
            if self.lumen[row, col] > 0.35 or (taken[row, col] and not clustered):
                continue
            if organ.palisade and rng.random() < 1.3 * self.apical[row, col] - 0.3:
                continue
            epithelial = bool(rng.random() > self.stroma[row, col])
            if room[epithelial] <= 0:
                continue
            nucleus = self._candidate(x, y, epithelial)
            keep_off, shared = (0.97, 0.18) if clustered else (organ.spacing, 0.02)
            patch = locate(nucleus.polygon, nucleus.centre, size, 5 + 0.5 * nucleus.radius)
            if patch is None:
                continue
            inside = patch.scale < 1
            area = int(inside.sum())
            crossed = taken[patch.window] & (patch.scale < keep_off)
            if area < MIN_VISIBLE_PX or crossed.sum() > shared * min(area, OVERLAP_AREA_PX):
                continue
            taken[patch.window] |= inside
            room[epithelial] -= area
            self.nuclei.append(nucleus)
            self._patches.append(patch)
        self.nuclear = taken
