"""What most steps of the preparation begin with: source folders, and what is prepared of one."""

import numpy as np
import pytest
from PIL import Image

from tests.data_prep.small_dataset import SIDES, image_of, labels_of, prepare
from tests.data_prep.small_source import square_xml, tissue


@pytest.fixture
def source(tmp_path):
    """A folder in the official layout: TCGA-1, TCGA-2, TCGA-3."""
    folder = tmp_path / "source"
    for name in ("Tissue Images", "Annotations"):
        (folder / name).mkdir(parents=True)
    for i in (1, 2, 3):
        Image.fromarray(tissue(i)).save(folder / "Tissue Images" / f"TCGA-{i}.tif", compression="tiff_lzw")
        (folder / "Annotations" / f"TCGA-{i}.xml").write_text(square_xml(4 * i, 4))
    return folder


@pytest.fixture(scope="module")
def three_images(tmp_path_factory):
    """Images of different sizes."""
    source = tmp_path_factory.mktemp("source")
    for name in SIDES:
        Image.fromarray(image_of(name)).save(source / f"{name}.png")
        np.save(source / f"{name}_label.npy", labels_of(name))
    return source


@pytest.fixture(scope="module")
def even_source(tmp_path_factory):
    """Images of one size: 40 pixels."""
    source = tmp_path_factory.mktemp("even")
    for name in SIDES:
        Image.fromarray(image_of(name)[:40, :40]).save(source / f"{name}.png")
        np.save(source / f"{name}_label.npy", labels_of(name)[:40, :40])
    return source


@pytest.fixture(scope="module")
def out(tmp_path_factory, three_images, even_source):
    """The folder with one dataset prepared at the images' own sizes, one at 64 pixels."""
    out = tmp_path_factory.mktemp("out")
    prepare(three_images, out, "--test", "b")
    prepare(even_source, out, "--test", "b", "--size", "64", "--mpp", "0.5")
    return out
