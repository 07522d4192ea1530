"""Vahadane's and Macenko's methods against staintools, which the paper's images were normalised with."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data_prep import synthetic
from nucseg_jax.slides import read_image
from nucseg_jax.stain import NORMALIZERS

staintools = pytest.importorskip("staintools")
spams = pytest.importorskip("spams")

SIDE = 256
MONUSEG = Path(__file__).parents[3] / "shared/data/monuseg/Tissue Images"
both_methods = pytest.mark.parametrize("name", ["vahadane", "macenko"])


@pytest.fixture(autouse=True)
def steps_instead_of_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """staintools lets SPAMS run for a second, which gets farther on some days than on others."""
    monkeypatch.setattr(spams, "trainDL", partial(spams.trainDL, iter=1000, numThreads=1))


def check(name: str, source: np.ndarray, target: np.ndarray) -> None:
    """Stain vectors within 3°, and the normalised image within 4 grey levels on average."""
    theirs = staintools.StainNormalizer(method=name)
    theirs.fit(target.copy())  # it writes on what it is given
    expected = theirs.transform(source.copy())
    ours = NORMALIZERS[name]().fit(target)
    result = ours.transform(source)
    assert not ours.fell_back
    pairs = (
        (ours.target.matrix, theirs.stain_matrix_target),
        (ours.estimate(source).style.matrix, theirs.extractor.get_stain_matrix(source.copy())),
    )
    for mine, other in pairs:
        assert ((np.float64(mine) * other).sum(axis=1) > np.cos(np.radians(3))).all()
    assert np.abs(np.float64(result) - expected).mean() < 4


@both_methods
@pytest.mark.parametrize("organ", ["kidney", "colon"])
def test_drawn_tissue(name: str, organ: str) -> None:
    check(name, synthetic.generate(0, 0, organ, SIDE)[0], synthetic.generate(0, 0, "breast", SIDE)[0])


@pytest.mark.skipif(not MONUSEG.exists(), reason=f"no {MONUSEG}")
@both_methods
def test_real_tissue(name: str) -> None:
    images = (
        read_image(MONUSEG / f"{case}-01Z-00-DX1.tif").pixels for case in ("TCGA-B0-5698", "TCGA-AR-A1AS")
    )
    check(name, *images)
