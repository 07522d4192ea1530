"""The models of the install on the sample image: what a newcomer sees first."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jax.sharding import Mesh

from nucseg_jax import Segmenter, pretrained, sample

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name,mpp", [("he", 0.25), ("he-fast", 0.5)])
def test_it_finds_the_samples_nuclei_and_needs_no_explanation(
    name: str, mpp: float, one_device: Mesh
) -> None:
    """Some 230 when this was written, of sizes that nuclei have; none on the glass."""
    segmenter = Segmenter.from_pretrained(name, mesh=one_device)
    assert segmenter.notes == () and segmenter.magnification.network_mpp == mpp
    assert segmenter.facts["pretrained"]["name"] == name and "workdir" not in segmenter.facts
    label_map = segmenter(sample(mpp), mpp=mpp)
    areas_um2 = np.bincount(label_map.ravel())[1:] * mpp**2
    assert 180 < len(areas_um2) < 300 and 10 < np.median(areas_um2) < 60
    assert not label_map[: round(150 / mpp), : round(20 / mpp)].any()


def test_the_default_is_he() -> None:
    assert pretrained.names() == (pretrained.DEFAULT, "he-fast") and pretrained.DEFAULT == "he"


def test_it_loads_without_what_only_training_needs() -> None:
    """Orbax alone takes seconds to import."""
    code = (
        "import sys; from nucseg_jax import Segmenter; Segmenter.from_pretrained(); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "'flax'" in loaded
    for name in ("orbax", "tensorflow", "tensorflow_datasets", "torch", "matplotlib"):
        assert f"'{name}'" not in loaded, name
