"""How uncertain a network is about a region, of what it says of the region in several orientations.

Two kinds of uncertainty, of each pixel's probability to be of a nucleus:

* **Disagreement.** The network looks at the region in the eight ways that a square can lie. What it says
  should not depend on that; where it does, it has not learned what is there. This is test-time augmentation
  as a measure of uncertainty (Wang et al., Neurocomputing 338, 34-45, 2019). Of a pixel it is the entropy of
  the mean probability minus the mean of the entropies: the mutual information of the answer and the
  orientation, as in active learning by disagreement (Houlsby et al., arXiv:1112.5745, 2011). A pixel that is
  half likely in all orientations has none.
* **Boundary entropy.** The entropy of the mean probability (entropy sampling; Settles, Active Learning
  Literature Survey, 2009), at the pixels around the borders of the nuclei that the network finds: it is high
  where the network does not know where a nucleus ends.

Both are means over the pixels in question, those of nuclei and around them. So a wide area of slight doubt
without nuclei does not win over a crowded one, and neither does one with more nuclei by their number.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

BAND_UM = 1.0
"""How far from the border between a nucleus and what is beside it a pixel is still around it."""

FEW_NUCLEI = 5
"""A region of so many nuclei weighs half of what the same uncertainty in many would weigh."""


class Score(NamedTuple):
    """How useful it is to annotate a region.

    Attributes:
      disagreement: bits in 0 … 1, mean over the region's pixels that some orientation takes for nucleus, or
        that lie around a border; 0 where there is one orientation.
      boundary_entropy: bits in 0 … 1, mean over the pixels around borders.
      tissue: share of the region that is tissue, in 0 … 1.
      nuclei: that the network finds in it, cut ones included.
    """

    disagreement: float
    boundary_entropy: float
    tissue: float
    nuclei: int

    @property
    def uncertainty(self) -> float:
        """0 … 1: the geometric mean of both kinds, weighed down where there is little to annotate.

        Of a geometric mean twice the one counts as much as twice the other, though one is far smaller.
        """
        return float(np.sqrt(self.disagreement * self.boundary_entropy)) * self._weight

    @property
    def of_boundaries(self) -> float:
        """0 … 1: the same of boundary entropy alone, for regions that were looked at in one orientation."""
        return self.boundary_entropy * self._weight

    @property
    def _weight(self) -> float:
        return self.tissue * self.nuclei / (self.nuclei + FEW_NUCLEI)


def score(
    probabilities: NDArray[np.float32],
    label_map: NDArray[np.int32],
    tissue: NDArray[np.bool_],
    mpp: float,
) -> Score:
    """Score a region.

    Args:
      probabilities: float32 [K, H, W] in 0 … 1, of nucleus, in each of K orientations.
      label_map: int32 [H, W], the nuclei of the mean of these.
      tissue: bool [H, W]; other pixels do not count.
      mpp: µm a pixel.
    """
    borders = _borders(label_map)
    around = (ndimage.distance_transform_edt(~borders) <= BAND_UM / mpp) & borders.any() & tissue
    question = (around | (probabilities > 0.5).any(axis=0)) & tissue
    return Score(
        disagreement=_mean(disagreement(probabilities), question),
        boundary_entropy=_mean(entropy(probabilities.mean(axis=0)), around),
        tissue=float(tissue.mean()),
        nuclei=len(np.unique(label_map[tissue & (label_map > 0)])),
    )


def disagreement(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float64 [H, W], bits in 0 … 1: entropy of the mean minus mean of the entropies of float32 [K, H, W]."""
    of_mean, mean = entropy(probabilities.mean(axis=0)), entropy(probabilities).mean(axis=0)
    result: NDArray[np.float64] = np.maximum(of_mean - mean, 0.0)
    return result


def entropy(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of yes or no, in bits: 1 at a probability of ½, 0 at 0 and 1."""
    yes = np.clip(probability.astype(np.float64), 0.0, 1.0)
    result: NDArray[np.float64] = (special.entr(yes) + special.entr(1.0 - yes)) / np.log(2)
    return result


def _borders(label_map: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool [H, W]: pixels beside one that is of another nucleus, or of none."""
    highest, lowest = (
        of(label_map, footprint=ndimage.generate_binary_structure(2, 1))
        for of in (ndimage.maximum_filter, ndimage.minimum_filter)
    )
    borders: NDArray[np.bool_] = highest != lowest
    return borders


def _mean(values: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    """The mean of some pixels; 0 of none."""
    return float(values[where].mean()) if where.any() else 0.0
