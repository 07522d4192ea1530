"""Squares of a slide: what the network says there, whatever way they are laid."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax import Segmenter
from nucseg_jax.inference.windows import AS_IT_IS, SYMMETRIES, Window
from nucseg_jax.slides import slide_of_array
from tests import drawn_tissue
from tests.untrained import write_run


@pytest.mark.parametrize("blend", [0, 6])
def test_every_pixel_in_its_place(blend: int) -> None:
    image = drawn_tissue.tissue(70, 90, 20)
    segmenter = drawn_tissue.segmenter(network=RedIsNucleus(blend=blend))
    places = [Window(0, 0), Window(20, 33), Window(20, 40)]
    with slide_of_array(image, drawn_tissue.MPP) as slide:
        found = list(segmenter.windows(slide, 50).maps(places, SYMMETRIES))
    for (top, left), maps in zip(places, found, strict=True):
        part = image[top : top + 50, left : left + 50]
        assert len(maps) == 8
        for of in maps:
            np.testing.assert_allclose(of.nucleus, (255 - part[..., 0]) / 255, atol=1e-6)
            assert of.boundary is not None
            np.testing.assert_allclose(of.boundary, (255 - part[..., 1]) / 255, atol=1e-6)


def test_a_network_sees_a_square_as_it_sees_the_slide(tmp_path: Path) -> None:
    """One that looks no farther than a tile's margin says the same; laid otherwise, what it says of that.

    The square begins at a multiple of the network's stride, so that it pools the same pixels together.
    """
    segmenter = Segmenter.load(write_run(tmp_path / "run"), network_mpp=0.25)
    image = drawn_tissue.tissue(128, 128, 30)
    with slide_of_array(image, 0.25) as slide:
        whole = segmenter.nucleus_map(slide).nucleus
        (maps,) = segmenter.windows(slide, 64).maps([Window(32, 32)], (AS_IT_IS, SYMMETRIES[5]))
    assert np.ptp(whole) > 0.1
    part = (slice(32, 96), slice(32, 96))
    np.testing.assert_allclose(maps[0].nucleus, whole[part], atol=1.01 / 255)
    with slide_of_array(SYMMETRIES[5].lay(image).copy(), 0.25) as slide:
        turned = SYMMETRIES[5].undo(segmenter.nucleus_map(slide).nucleus)
    np.testing.assert_allclose(maps[1].nucleus, turned[part], atol=1.01 / 255)
    assert np.abs(turned[part] - whole[part]).max() > 3 / 255  # orientations differ
