"""The source folder that most steps of the preparation begin with."""

import pytest
from PIL import Image

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
