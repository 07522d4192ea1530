"""The regions of one slide that are worth annotating.

All places of a grid, or a sample of them, are looked at as they lie. The best quarter, spread over the slide,
is looked at in all eight orientations, and the regions are chosen among these. So the network looks at about
three times as many pixels as the places have, however large the slide is.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from nucseg_jax.errors import DataError
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.inference.windows import AS_IT_IS, SYMMETRIES, Symmetry, Window, Windows
from nucseg_jax.instances import NucleusMap
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.regions import Regions
from nucseg_jax.slides import Slide
from nucseg_jax.suggest.candidates import LEAST_TISSUE, Ground
from nucseg_jax.suggest.spread import looks_of, spread
from nucseg_jax.suggest.uncertainty import Score, score

_LOOKED_AT_TWICE = 4
"""One of so many places is looked at in all orientations."""

_AROUND_UM = 30.0
"""How far from a region the centre of a nucleus may be that reaches into it."""


@dataclass(frozen=True)
class SuggestionRequest:
    """What is asked of a slide.

    Attributes:
      count: regions.
      size_um: side of a region; None: that of NETWORK_PX pixels of the network.
      sample: places that are looked at, at most.
      seed: of the sample, where there are more.
      with_nuclei: the network's nuclei are wanted, too.
    """

    count: int = 8
    size_um: float | None = None
    sample: int = 400
    seed: int = 0
    with_nuclei: bool = True


NETWORK_PX = 256
"""Side of a region by default, in pixels of the network's level."""


class Suggestion(NamedTuple):
    """A region to annotate.

    Attributes:
      window: the region, in pixels of the network's level.
      box: left, top, right, bottom in base pixels, whole ones.
      score: why.
    """

    window: Window
    box: tuple[int, int, int, int]
    score: Score


class Suggestions(NamedTuple):
    """What came of a slide.

    Attributes:
      frame: the slide's.
      side: of the regions, in pixels of the network's level.
      regions: the most useful one first.
      nuclei: of the network that reach into a region.
      looked_at: places, in one orientation; and how many of them in eight.
      covered: share of the tissue that these places cover, in 0 … 1.
      seconds: on the clock.
      notes: what a user should be told.
    """

    frame: Frame
    side: int
    regions: list[Suggestion]
    nuclei: list[Nucleus]
    looked_at: tuple[int, int]
    covered: float
    seconds: float
    notes: list[str]


def find(
    slide: Slide,
    segmenter: Segmenter,
    request: SuggestionRequest,
    *,
    roi: Regions | None = None,
    on_progress: Callable[[float], None] = lambda part: None,
) -> Suggestions:
    """Find the regions of a slide that are worth annotating; the same each time.

    Args:
      slide: open, with a resolution.
      segmenter: of the network that is to learn from them.
      request: how many, and how large.
      roi: regions lie in it; None: anywhere on the slide.
      on_progress: is told the part that is done, 0 … 1.

    Raises:
      DataError: no region fits in the tissue, or in the ROI.
      UserError: the slide has no resolution.
    """
    start, mpp = time.perf_counter(), segmenter.magnification.network_mpp
    side = NETWORK_PX if request.size_um is None else round(request.size_um / mpp)
    frame = segmenter.frame(slide)
    if roi is not None:
        roi.check_on(slide.path, frame.size)
    windows = segmenter.windows(slide, side)
    ground = Ground(frame, windows.kinds, side, roi)
    places = ground.places(request.sample, request.seed)
    if not places:
        raise DataError(_nowhere(slide, ground))
    look = _Look(segmenter, windows, ground)
    again = min(len(places), max(len(places) // _LOOKED_AT_TWICE, 4 * request.count))
    work = len(places) + again * len(SYMMETRIES)
    once = look.scores(places, (AS_IT_IS,), lambda done: on_progress(done / work))
    # Those that overlap may both be looked at again, so that the better one can be chosen.
    doubtful = look.best(places, [of.of_boundaries for of in once], again, least=1.0)
    scores = look.scores(
        doubtful, SYMMETRIES, lambda done: on_progress((len(places) + done * len(SYMMETRIES)) / work)
    )
    by_place = dict(zip(doubtful, scores, strict=True))
    looks = looks_of(_colours(slide, ground, doubtful))
    best = look.best(doubtful, [of.uncertainty for of in scores], request.count, float(side), looks)
    regions = [Suggestion(place, ground.box(place), by_place[place]) for place in best]
    nuclei = _nuclei(slide, segmenter, regions, side) if request.with_nuclei else []
    notes = []
    if len(regions) < request.count:
        notes.append(
            f"only {len(regions)} of {request.count} regions: no other of {side * mpp:g} µm lies apart from "
            "these. A smaller --size-um has room for more"
        )
    looked_at, seconds = (len(places), len(doubtful)), time.perf_counter() - start
    return Suggestions(frame, side, regions, nuclei, looked_at, ground.covered(places), seconds, notes)


@dataclass(frozen=True)
class _Look:
    """A network that looks at places of a slide."""

    segmenter: Segmenter
    windows: Windows
    ground: Ground

    def scores(
        self, places: Sequence[Window], ways: Sequence[Symmetry], on_progress: Callable[[int], None]
    ) -> list[Score]:
        """The score of each place; `on_progress` is told how many are done."""
        found = []
        for place, maps in zip(places, self.windows.maps(places, ways), strict=True):
            probabilities = np.stack([of.nucleus for of in maps])
            nuclei, tissue = self.segmenter.cut(_mean(maps)), self.ground.tissue(place)
            found.append(score(probabilities, nuclei, tissue, self.ground.frame.network_mpp))
            on_progress(len(found))
        return found

    def best(
        self,
        places: Sequence[Window],
        scores: Sequence[float],
        count: int,
        least: float,
        looks: NDArray[np.int64] | None = None,
    ) -> list[Window]:
        """The best places that are spread over the tissue; see `spread`."""
        corners = np.array(places, np.float64)  # they lie as the centres do
        area = self.ground.tissue_area()
        chosen = spread(corners, np.array(scores), count, least=least, area=area, looks=looks)
        return [places[i] for i in chosen]


def _mean(maps: Sequence[NucleusMap]) -> NucleusMap:
    """Of what was said in several orientations."""
    boundaries = [of.boundary for of in maps if of.boundary is not None]
    nucleus = np.stack([of.nucleus for of in maps]).mean(axis=0)
    return NucleusMap(nucleus, np.stack(boundaries).mean(axis=0) if boundaries else None)


def _colours(slide: Slide, ground: Ground, places: Sequence[Window]) -> NDArray[np.float64]:
    """Mean and deviation of each channel of each place: float64 [N, 6]."""
    picture = slide.thumbnail(max(ground.kinds.kinds.shape))
    parts = [ground.of_mask(picture, place).reshape(-1, 3).astype(np.float64) for place in places]
    return np.array([np.concatenate([part.mean(axis=0), part.std(axis=0)]) for part in parts])


def _nuclei(slide: Slide, segmenter: Segmenter, regions: Sequence[Suggestion], side: int) -> list[Nucleus]:
    """The network's nuclei that have a pixel in a region: what lies around it is looked at, too."""
    frame = segmenter.frame(slide)
    reach = _AROUND_UM / frame.mpp
    around = shapely.union_all([shapely.box(*of.box).buffer(reach, join_style="mitre") for of in regions])
    found = segmenter.stream(slide, regions=Regions({"around": around}))
    return [nucleus for nucleus in found if any(_reaches_into(nucleus, of.window, side) for of in regions)]


def _reaches_into(nucleus: Nucleus, window: Window, side: int) -> bool:
    (height, width), top, left = nucleus.mask.shape, window.top - nucleus.top, window.left - nucleus.left
    if top >= height or left >= width or top + side <= 0 or left + side <= 0:
        return False
    return bool(nucleus.mask[max(0, top) : top + side, max(0, left) : left + side].any())


def _nowhere(slide: Slide, ground: Ground) -> str:
    """Why there is no place for a region."""
    size_um = ground.side * ground.frame.network_mpp
    where = "" if ground.roi is None else f" in {ground.roi.path or 'the regions given'}"
    if not ground.searched().any():
        return f"{slide.path}: shows no tissue{where}. Give a slide of H&E-stained tissue"
    return (
        f"{slide.path}: no square of {size_um:g} µm{where} is at least {LEAST_TISSUE:.0%} tissue and free of "
        "pen, black, fill and folds. Give a smaller --size-um"
    )
