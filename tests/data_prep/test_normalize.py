"""Prepared images have the stains of the target."""

import numpy as np
import pytest

from data_prep.normalize import StainWarning
from nucseg_jax.errors import DataError
from nucseg_jax.stain import NORMALIZERS
from nucseg_jax.stain import from_dict as stain_from_dict
from tests.data_prep.small_source import IDS, WITH_TARGET, blank, manifest_of, planned, tissue


@pytest.mark.parametrize("stain", ["vahadane", "macenko", "reinhard"])
def test_normalised_images(source, stain):
    preparation = planned(source, WITH_TARGET, stain=stain)
    (example,) = preparation.examples("test")
    expected = NORMALIZERS[stain]().fit(tissue(2)).transform(tissue(1))
    np.testing.assert_array_equal(example.image, expected)
    np.testing.assert_array_equal(example.original_image, tissue(1))
    assert (example.image != example.original_image).any()
    fitted = stain_from_dict(preparation.normalizer.style)
    np.testing.assert_array_equal(fitted.transform(tissue(1)), expected)
    assert preparation.normalizer.fell_back == [] and not (source.parent / "cache").exists()


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_without_tissue(source, value):
    blank(source, value)
    preparation = planned(source, WITH_TARGET, stain="vahadane")
    with pytest.warns(StainWarning, match="TCGA-1: no hematoxylin and eosin"):
        (example,) = preparation.examples("test")
    np.testing.assert_allclose(example.image, value, atol=20)  # two stains make no black
    assert preparation.normalizer.fell_back == ["TCGA-1"]
    with pytest.raises(DataError, match="TCGA-1: the target of vahadane .* shows no hematoxylin"):
        planned(source, manifest_of(IDS, target="TCGA-1"), stain="vahadane")
