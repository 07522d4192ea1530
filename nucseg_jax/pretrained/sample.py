"""The sample image: skin, H&E, of a slide of OpenSlide's freely distributable test data."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.slides import open_slide
from nucseg_jax.slides.resolution import check_given

SAMPLE = Path(__file__).parent / "sample.png"
"""512×512 pixels as they were scanned, at 0.499 µm a pixel, which the file says.

Source: CMU-1-Small-Region.svs of https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/, by
Carnegie Mellon University, rows 2100 to 2611, columns 650 to 1161 of its base level.
"""


def sample(mpp: float = TYPICAL_MPP) -> NDArray[np.uint8]:
    """A small image of tissue to try things on.

    Args:
      mpp: µm a pixel of what is returned. The file has 0.499; the default is that of 40× images.

    Returns:
      uint8 [H, W, 3] RGB of 255 × 255 µm: 1022×1022 pixels at 0.25.

    Raises:
      UserError: no slide has such a resolution.
    """
    check_given(mpp)
    with open_slide(SAMPLE) as slide:
        assert slide.mpp is not None
        height, width = (round(side * slide.mpp / mpp) for side in slide.size)
        return slide.region(0, 0, height, width, mpp)
