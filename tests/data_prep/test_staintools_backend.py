"""Images normalised by staintools, and the cache that keeps them."""

import sys

import numpy as np
import pytest

from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.io import files
from nucseg_jax.stain import from_dict as stain_from_dict
from tests.data_prep.small_source import IDS, SIDE, WITH_TARGET, blank, manifest_of, planned, tissue


@pytest.fixture
def staintools_plan(source):
    pytest.importorskip("staintools")

    def plan(manifest=WITH_TARGET):
        return planned(source, manifest, stain="vahadane", backend="staintools")

    return plan


def cached(source):
    return sorted((source.parent / "cache").iterdir())


def test_images_normalised_by_staintools(staintools_plan):
    preparation = staintools_plan()
    fitted = stain_from_dict(preparation.normalizer.style)
    matrix = fitted.stain_matrix
    assert matrix[0, 0] > matrix[1, 0]
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-6)
    (example,) = preparation.examples("test")
    assert example.image.dtype == np.uint8 and example.image.shape == (SIDE, SIDE, 3)
    # What is kept of staintools' target serves our transform, too.
    ours = fitted.transform(tissue(1)).astype(int)
    assert np.abs(ours - example.image).mean() < 4
    again = staintools_plan()
    assert again.normalizer.style == preparation.normalizer.style


def test_a_rerun_makes_only_what_is_missing_or_damaged(source, staintools_plan, monkeypatch):
    first = [e.image for e in staintools_plan().examples("train")]
    paths = cached(source)
    assert [path.name[:6] for path in paths] == ["TCGA-2", "TCGA-3"]
    paths[1].write_bytes(paths[1].read_bytes()[:-1000])
    preparation = staintools_plan()
    made = []
    normalizer = pytest.importorskip("staintools").StainNormalizer
    transform = normalizer.transform
    monkeypatch.setattr(
        normalizer, "transform", lambda self, image: made.append(image) or transform(self, image)
    )
    second = [e.image for e in preparation.examples("train")]
    assert len(made) == 1
    np.testing.assert_array_equal(made[0], tissue(3))
    np.testing.assert_array_equal(first, second)
    assert cached(source) == paths


def test_another_target_is_another_cache_entry(source, staintools_plan):
    for manifest in (WITH_TARGET, manifest_of(IDS, target="TCGA-3")):
        list(staintools_plan(manifest).examples("test"))
    assert len(cached(source)) == 2


def test_a_failed_write_leaves_nothing(source, staintools_plan, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    preparation = staintools_plan()
    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(preparation.examples("test"))
    assert cached(source) == []


@pytest.mark.parametrize("value", [0, 255])
def test_staintools_and_an_image_without_tissue(source, staintools_plan, value):
    blank(source, value)
    with pytest.raises(DataError, match="TCGA-1: staintools finds no two stains.*--stain-backend"):
        next(staintools_plan().examples("test"))
    with pytest.raises(DataError, match="TCGA-1: staintools finds no two stains"):
        staintools_plan(manifest_of(IDS, target="TCGA-1"))


def test_without_staintools(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "staintools", None)
    with pytest.raises(MissingExtraError) as caught:
        planned(source, WITH_TARGET, stain="vahadane", backend="staintools")
    assert 'pip install -e ".[stain]"' in str(caught.value)
    with pytest.raises(DataError, match="does vahadane only, not macenko"):
        planned(source, WITH_TARGET, stain="macenko", backend="staintools")
