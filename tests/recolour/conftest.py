"""The files that most tests of the command begin with."""

import pytest

from tests.recolour.stained_images import BLUER, REDDER, save, tissue


@pytest.fixture
def target(tmp_path):
    return save(tmp_path / "target.png", tissue(0))


@pytest.fixture
def tiles(tmp_path):
    """A folder with a.png, b.tif and what is no image."""
    folder = tmp_path / "tiles"
    save(folder / "a.png", tissue(1, BLUER))
    save(folder / "b.tif", tissue(2, REDDER))
    (folder / "notes.txt").write_text("hello")
    (folder / "._a.png").write_text("left by macOS")
    (folder / "deeper.png").mkdir()
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "out"
