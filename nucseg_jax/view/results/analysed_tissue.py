"""Where a result has looked for nuclei: the tissue that densities are per mm² of."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.export.density import CELL_UM
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides.tissue_mask import MASK_MPP, MASKABLE, slide_kinds
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide

Kind = Literal["tissue", "squares"]


class AnalysedTissue(NamedTuple):
    """Tissue that was analysed.

    Attributes:
      mask: bool [h, w], the whole slide.
      kind: "tissue": as `nucseg predict` found it on the slide, where the result's density map has a value;
        "squares": the slide is not to be had, and these are the 50 µm squares with tissue of the density map,
        which are more than the tissue.
    """

    mask: NDArray[np.bool_]
    kind: Kind


def analysed_tissue(
    frame: Frame, slide: DisplayedSlide | None, masked: list[str], density: Path | None
) -> AnalysedTissue | None:
    """Find it; None where neither the slide nor a density map is there.

    Args:
      frame: of the result.
      slide: that it is of; None where that is not to be had.
      masked: kinds of places where no nucleus was looked for (`masked` of the request in summary.json).
      density: density.tif of the result; None without. It alone knows of regions that were asked for.

    Raises:
      DataError: a file is damaged.
    """
    if slide is None and density is None:
        return None
    if slide is not None:
        thumbnail = slide.thumbnail(max(1, round(max(frame.size) * frame.mpp / MASK_MPP)))
        mask = slide_kinds(thumbnail, [name for name in masked if name in MASKABLE]).tissue
    else:
        mask = np.ones([max(1, round(side * frame.mpp / MASK_MPP)) for side in frame.size], bool)
    if density is not None:
        mask = mask & _squares(density, frame, mask.shape)
    return AnalysedTissue(mask, "squares" if slide is None else "tissue")


def _squares(density: Path, frame: Frame, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a density map has a value, bool of a shape, by the centres of its pixels."""
    try:
        known = np.isfinite(tifffile.imread(density))
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise DataError(f"{density}: cannot be read ({in_short(error)})") from error
    places = [
        np.minimum((np.arange(count) + 0.5) * side * frame.mpp / count / CELL_UM, squares - 1).astype(
            np.int64
        )
        for count, side, squares in zip(shape, frame.size, known.shape, strict=True)
    ]
    squares_at: NDArray[np.bool_] = known[np.ix_(*places)]
    return squares_at
