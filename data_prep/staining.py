"""Stain a laid-out section and photograph it.

A picture is built as a real one is: maps of how much hematoxylin, eosin and pigment lie over each
pixel, turned into light by Beer and Lambert's law, I = 255 exp(-C S), then blurred by a lens and
roughened by a camera. Concentrations are natural-log optical densities along unit stain vectors.

Much of what is drawn here is there to mislead a threshold on the hematoxylin channel: basophilic
cytoplasm, mucin, smudges, debris, uneven stain. Only what `Section.nuclei` lists is annotated.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .tissue import Array, Nucleus, Patch, Section, locate, outline, sigmoid

RED_CELL = (0.22, 0.72, 0.66)
PIGMENT = (0.38, 0.58, 0.72)


class Stains:
    """How much of each stain lies over each pixel, `float32 [H, W]` in optical density (base e)."""

    def __init__(self, section: Section) -> None:
        self.section, self.rng, self.size = section, section.rng, section.size
        shape = (section.size, section.size)
        self.hematoxylin = np.zeros(shape, dtype=np.float32)
        self.eosin = np.zeros(shape, dtype=np.float32)
        self.red_cells = np.zeros(shape, dtype=np.float32)
        self.pigment = np.zeros(shape, dtype=np.float32)
        self._background()
        self._mucin()
        self._fat()
        self._smudges()
        self._blood()
        self._nuclei()
        self._debris()

    def _background(self) -> None:
        """Cytoplasm cell by cell, stroma fibre by fibre, nothing in the lumens."""
        section, organ, rng = self.section, self.section.organ, self.rng
        cells = [n.centre for n in section.nuclei if n.epithelial]
        # Added points stand for cells whose nucleus the section missed.
        missed = rng.uniform(0, self.size, (8 + len(cells) // 8, 2))
        sites = np.concatenate([np.array(cells).reshape(-1, 2), missed])
        grid = np.arange(0, self.size, 2, dtype=np.float32)
        wobble = 2.5 * section.noise(14)[::2, ::2], 2.5 * section.noise(14)[::2, ::2]
        points = np.stack([grid[None, :] + wobble[0], grid[:, None] + wobble[1]], axis=-1)
        distance, nearest = cKDTree(sites).query(points, k=2)
        border = np.exp(-(((distance[..., 1] - distance[..., 0]) / 3) ** 2))
        shade = rng.normal(1, 0.18, len(sites))[nearest[..., 0]]
        # A few cells hold much more basophilic cytoplasm than their neighbours.
        blue = np.minimum(rng.gamma(1.6, 1 / 1.6, len(sites)), 2.4)[nearest[..., 0]]
        apart = distance[..., 0] / (1.55 * organ.radius) - 1
        border, shade, blue, apart = (self._enlarge(m) for m in (border, shade, blue, apart))

        granules = 1 + 0.16 * section.noise(2.5) + 0.16 * section.noise(9)
        epithelium = (1 - section.stroma) * (1 - section.lumen)
        gaps = organ.loose * sigmoid(9 * (apart + 0.3 * section.noise(12))) * epithelium
        eosin_cell = organ.cytoplasm * shade * granules + organ.membrane * border
        blue_cell = organ.basophilia * blue * (0.75 + 0.3 * section.noise(25)) * granules
        collagen = np.clip(0.62 + 0.2 * section.fibres + 0.14 * section.noise(45), 0.05, None)
        cleft = sigmoid(7 * (section.noise(20) - 0.7 * section.fibres - 1.9))
        collagen = collagen * (1 - 0.9 * cleft)
        self.eosin += epithelium * (1 - gaps) * eosin_cell
        self.eosin += section.stroma * (1 - section.lumen) * collagen
        self.hematoxylin += epithelium * (1 - gaps) * np.clip(blue_cell, 0, None)
        self.hematoxylin += section.stroma * np.clip(0.1 + 0.08 * section.fibres, 0, None)
        # Secretion lies thinly in the lumens.
        self.eosin += section.lumen * np.clip(0.12 * section.noise(18) - 0.05, 0, 0.4)

    def _enlarge(self, half: Array) -> Array:
        """Bring a map made on every second pixel to full size."""
        full = half.astype(np.float32).repeat(2, axis=0).repeat(2, axis=1)
        return np.asarray(ndimage.uniform_filter(full, 3)[: self.size, : self.size])

    def _mucin(self) -> None:
        """Bluish haze in part of the lumens and in goblet-like drops of epithelium."""
        section, organ = self.section, self.section.organ
        if not organ.mucin:
            return
        wisps = 0.8 + 0.3 * section.noise(6) + 0.25 * section.fibres
        level = np.quantile(where := section.noise(80), 1 - organ.mucin)
        haze = section.lumen * sigmoid(6 * (where - level)) * np.clip(wisps, 0.1, None)
        self.hematoxylin += 0.75 * haze
        self.eosin += 0.15 * haze
        for patch in self._blobs(150 * organ.mucin, organ.radius * 1.2, 1.3, in_stroma=False):
            drop = sigmoid(patch.depth)
            self._mix(self.eosin, patch, drop, 0.12)
            self._mix(self.hematoxylin, patch, drop, self.rng.uniform(0.25, 0.8))

    def _fat(self) -> None:
        """Round empty holes with a thin rim of cytoplasm."""
        organ = self.section.organ
        for patch in self._blobs(organ.fat, organ.radius * 1.5, 1.15, in_stroma=False):
            hole = sigmoid(2 * patch.depth)
            for stain in (self.eosin, self.hematoxylin):
                self._mix(stain, patch, hole, 0.02)
            self.eosin[patch.window] += 0.3 * np.exp(-((patch.depth / 1.5) ** 2))

    def _smudges(self) -> None:
        """Crushed chromatin: as blue as nuclei, streaked, without an edge."""
        section = self.section
        streaks = np.clip(0.8 + 0.35 * section.fibres, 0.1, None)
        for in_stroma in (True, False):
            for patch in self._blobs(70, 16, 2.2, in_stroma):
                fade = np.exp(-1.6 * np.clip(patch.scale, 0, None) ** 2)
                amount = self.rng.uniform(0.4, 1.0) * section.organ.tone
                self.hematoxylin[patch.window] += amount * fade * streaks[patch.window]

    def _blood(self) -> None:
        """Red cells packed in vessels, some strayed, and brown granules left by old bleeding."""
        section, rng = self.section, self.rng
        vessels = list(self._blobs(section.organ.blood, 34, 1.8, in_stroma=True))
        cells = [(rng.uniform(0, self.size, 2), 1.0) for _ in range(int(25 * self._megapixels()))]
        for patch in vessels:
            lumen = sigmoid(2 * patch.depth)
            for stain in (self.eosin, self.hematoxylin):
                self._mix(stain, patch, lumen, 0.03)
            self.eosin[patch.window] += 0.35 * np.exp(-(((patch.depth + 2) / 2) ** 2))
            rows, cols = np.nonzero(patch.scale < 0.9)
            picks = rng.integers(0, max(1, len(rows)), len(rows) // 130)
            origin = patch.window[1].start, patch.window[0].start
            cells += [(np.array([cols[p] + origin[0], rows[p] + origin[1]]), 0.9) for p in picks]
        for centre, darkness in cells:
            place = (float(centre[0]), float(centre[1]))
            radius, elongation = rng.normal(6.5, 0.5), rng.uniform(1, 1.3)
            shape = outline(rng, place, radius, elongation, rng.uniform(0, np.pi))
            disc = locate(shape, place, self.size, 4)
            if disc is not None:
                amount = darkness * rng.uniform(0.7, 1.6)
                hollow = 0.75 + 0.25 * np.clip(disc.scale, 0, 1)
                self._mix(self.red_cells, disc, sigmoid(2 * disc.depth), amount * hollow)
        for patch in self._blobs(25, 2.6, 1.3, in_stroma=True):
            self._mix(self.pigment, patch, sigmoid(2 * patch.depth), rng.uniform(1, 2.2))

    def _nuclei(self) -> None:
        """Nuclei from the last annotated to the first, so that the first of two lies on top."""
        section, rng = self.section, self.rng
        coarse, fine, torn = section.noise(5), section.noise(2.4), section.noise(9)
        for nucleus, patch in reversed(list(section.placed())):
            window = patch.window
            if rng.random() < 0.25:  # shrinkage tears the cytoplasm off part of the rim
                halo = sigmoid(4 * (torn[window] - 0.3)) * (patch.depth < 0)
                halo *= 0.8 * np.exp(-(((patch.depth + 2.2) / 2) ** 2))
                self.eosin[window] *= 1 - halo
                self.hematoxylin[window] *= 1 - halo
            chromatin = 1 + nucleus.clumps * (0.6 * coarse[window] + 0.55 * fine[window])
            rim = np.exp(-(((patch.depth - 1.6) / 1.5) ** 2))
            amount = nucleus.tone * (np.clip(chromatin, 0.25, 2.2) + nucleus.rim * rim)
            amount += self._nucleoli(nucleus, patch)
            cover = sigmoid(4 * patch.depth / nucleus.softness)
            # The section is thick: what lies under a nucleus shows through.
            under = self.hematoxylin[window]
            self.hematoxylin[window] = under * (1 - cover) + cover * (amount + 0.22 * under)
            self.eosin[window] *= 1 - 0.45 * cover
            self.red_cells[window] *= 1 - 0.8 * cover

    def _nucleoli(self, nucleus: Nucleus, patch: Patch) -> Array:
        """Dark round bodies inside a nucleus."""
        total = np.zeros_like(patch.depth)
        for _ in range(nucleus.nucleoli):
            shift = self.rng.uniform(-0.4, 0.4, 2) * nucleus.radius * 0.8
            x = np.arange(patch.window[1].start, patch.window[1].stop) + 1 - nucleus.centre[0]
            y = np.arange(patch.window[0].start, patch.window[0].stop) + 1 - nucleus.centre[1]
            far = (x[None, :] - shift[0]) ** 2 + (y[:, None] - shift[1]) ** 2
            width = nucleus.radius * self.rng.uniform(0.14, 0.22)
            total += 0.9 * nucleus.tone * np.exp(-((far / width**2) ** 2))
        return total

    def _debris(self) -> None:
        """Dark crumbs too small for nuclei, some in a pink drop (apoptotic bodies)."""
        for patch in self._blobs(70, 2.2, 1.4, in_stroma=False, margin=7):
            if self.rng.random() < 0.4:
                self.eosin[patch.window] += 0.7 * sigmoid(patch.depth + 4)
            crumb = sigmoid(2.5 * patch.depth)
            self.hematoxylin[patch.window] += self.rng.uniform(0.8, 2) * crumb

    def _megapixels(self) -> float:
        return self.size**2 / 1e6

    def _blobs(
        self,
        per_megapixel: float,
        radius: float,
        elongation: float,
        in_stroma: bool,
        margin: float = 5,
    ) -> list[Patch]:
        """Outlines of things that are not nuclei, off the nuclei's centres."""
        section, rng, blobs = self.section, self.rng, []
        for _ in range(rng.poisson(per_megapixel * self._megapixels())):
            x, y = rng.uniform(1, self.size, 2).tolist()
            row, col = int(y - 1), int(x - 1)
            if section.nuclear[row, col] or section.lumen[row, col] > 0.3:
                continue
            if (section.stroma[row, col] > 0.5) != in_stroma:
                continue
            size = radius * np.exp(0.3 * rng.standard_normal())
            angle = section.fibre_angle[row, col]
            shape = outline(rng, (x, y), size, elongation * rng.uniform(0.85, 1.3), angle)
            patch = locate(shape, (x, y), self.size, margin)
            if patch is not None:
                blobs.append(patch)
        return blobs

    @staticmethod
    def _mix(stain: Array, patch: Patch, cover: Array, amount: float | Array) -> None:
        """Let `amount` take the place of what is there, where `cover` is 1."""
        stain[patch.window] = stain[patch.window] * (1 - cover) + amount * cover


def photograph(stains: Stains) -> Array:
    """Light through the stained section: `uint8 [H, W, 3]`, RGB."""
    section, rng = stains.section, stains.rng
    organ = section.organ

    def varied(stain: tuple[float, float, float], jitter: float) -> Array:
        """The stain's unit vector, a little off as between laboratories."""
        vector = np.clip(np.array(stain) + jitter * rng.standard_normal(3), 0.02, None)
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    strength = rng.normal(1, 0.08, 2)
    # Dye took unevenly, and the section is not of one thickness.
    uneven = np.clip(1 + 0.17 * section.noise(160), 0.55, 1.5)
    density = (
        (stains.hematoxylin * (strength[0] * uneven))[..., None] * varied(organ.hematoxylin, 0.02)
        + (stains.eosin * (strength[1] * uneven))[..., None] * varied(organ.eosin, 0.02)
        + stains.red_cells[..., None] * varied(RED_CELL, 0.02)
        + stains.pigment[..., None] * varied(PIGMENT, 0.02)
    )
    light = np.exp(-density)
    sharpness = rng.uniform(0.55, 0.95)
    light = ndimage.gaussian_filter(light, (sharpness, sharpness, 0))
    lamp = np.array([0.955, 0.945, 0.955]) + rng.normal(0, 0.008, 3)
    falloff = 1 + 0.012 * section.noise(section.size)
    grain = rng.standard_normal(light.shape, dtype=np.float32)
    grain = 1.6 * ndimage.gaussian_filter(grain, (0.5, 0.5, 0)) / 0.6
    image = 255 * light * lamp * falloff[..., None] + grain * np.sqrt(0.3 + light)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
