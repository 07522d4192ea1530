"""OME-Zarr that the package `ome-zarr` writes, today's version of it, is read as it was written."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from nucseg_jax.slides import open_slide
from tests.slides.pictures import picture

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of its own classes, by itself
    ome_zarr = pytest.importorskip("ome_zarr", reason="`ome-zarr` comes with the extra `spatialdata`")
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.writer import write_image

FORMATS = {"0.4": FormatV04, "0.5": FormatV05}
MPP, SCALES = 0.25, (1, 2, 4)


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("unit", ["micrometer", "nanometer"])
def test_pixels_and_resolution(tmp_path: Path, version: str, unit: str) -> None:
    path, image = tmp_path / "a.ome.zarr", picture(120, 200)
    um = MPP * (1000 if unit == "nanometer" else 1)
    write_image(
        np.moveaxis(image, 2, 0),
        str(path),
        scale_factors=SCALES[1:],
        fmt=FORMATS[version](),
        axes=[
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space", "unit": unit},
            {"name": "x", "type": "space", "unit": unit},
        ],
        coordinate_transformations=[
            [{"type": "scale", "scale": [1.0, um * scale, um * scale]}] for scale in SCALES
        ],
        storage_options={"chunks": (1, 64, 48)},
    )
    assert (path / ("zarr.json" if version == "0.5" else ".zattrs")).exists()
    with open_slide(path) as slide:
        assert slide.size == (120, 200) and slide.is_slide
        assert slide.mpp == pytest.approx(MPP) and slide.mpp_source == "OME-Zarr scale"
        np.testing.assert_array_equal(slide.region(0, 0, 120, 200, MPP), image)
        np.testing.assert_array_equal(slide.region(50, 90, 40, 60, MPP), image[50:90, 90:150])
        quarter = slide.region(0, 0, 30, 50, 4 * MPP).astype(int)
        assert np.abs(quarter - image[1::4, 1::4].astype(int)).max() <= 12  # the picture is smooth
