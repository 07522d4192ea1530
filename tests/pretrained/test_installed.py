"""The default model on the sample image: what a newcomer sees first."""

import numpy as np
from jax.sharding import Mesh

from nucseg_jax import Segmenter, sample


def test_it_finds_the_samples_nuclei_and_needs_no_explanation(one_device: Mesh) -> None:
    """229 when this was written, of sizes that nuclei have; none on the glass."""
    segmenter = Segmenter.from_pretrained(mesh=one_device)
    assert segmenter.notes == ()
    assert segmenter.facts["pretrained"]["name"] == "he" and "workdir" not in segmenter.facts
    label_map = segmenter(sample(), mpp=0.25)
    areas_um2 = np.bincount(label_map.ravel())[1:] * 0.25**2
    assert 180 < len(areas_um2) < 300 and 10 < np.median(areas_um2) < 60
    assert not label_map[:600, :80].any()
