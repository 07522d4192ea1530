"""Addresses: OME-Zarr and TIFF are read there, piece by piece; for the rest there is a clear word."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.io.names import address, is_address
from nucseg_jax.slides import file_state, files_of, open_slide, read_image
from tests.fuzz.seeds import svs
from tests.slides.pictures import CM, picture, tiled
from tests.slides.ranges import served

pytest.importorskip("zarr")
pytest.importorskip("aiohttp")

from tests.slides.ome_zarr import drawn  # noqa: E402


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_only_the_chunks_needed_of_an_ome_zarr_are_fetched(tmp_path: Path, version: str) -> None:
    image = picture(320, 480)
    drawn.write(tmp_path / "a.ome.zarr", image, version=version, levels=2)
    with served(tmp_path) as (place, server), open_slide(f"{place}/a.ome.zarr") as slide:
        assert slide.size == (320, 480) and slide.mpp == pytest.approx(0.5)
        server.asked.clear()
        np.testing.assert_array_equal(slide.region(33, 65, 80, 30, 0.5), image[33:113, 65:95])
        start = "/a.ome.zarr/0" if version == "0.4" else "/a.ome.zarr/0/c"
        expected = [f"{start}/{c}/{row}/2" for c in range(3) for row in (1, 2, 3)]
        assert sorted(path for path, _ in server.asked) == sorted(expected)


def test_only_the_pieces_needed_of_a_tiff_are_fetched(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(256, 256), **CM)
    with served(tmp_path) as (place, server), open_slide(f"{place}/a.tif") as slide:
        server.asked.clear()
        np.testing.assert_array_equal(slide.region(10, 20, 200, 200, 0.5), image[10:210, 20:220])
        assert sum(size for _, size in server.asked) <= 2**20


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with served(tmp_path) as (place, server):
        with pytest.raises(DataError, match=r"b\.tif: no such file at this address\. Check its spelling"):
            open_slide(f"{place}/b.tif")
        with pytest.raises(DataError, match=r"b\.zarr: no such file at this address"):
            open_slide(f"{place}/b.zarr")
        server.gives_parts = False
        tiled(tmp_path / "a.tif", np.zeros((1000, 1500, 3), np.uint8))
        with pytest.raises(DataError, match=r"a\.tif: its server gives no parts of files\. Download"):
            open_slide(f"{place}/a.tif")
    with pytest.raises(DataError, match=r"a\.tif: cannot be fetched .*Check the address and the network"):
        open_slide(f"{place}/a.tif")


def test_scanners_slides_must_be_downloaded(tmp_path: Path) -> None:
    svs(tmp_path)
    (tmp_path / "a.svs").rename(tmp_path / "a.tif")
    with served(tmp_path) as (place, _):
        with pytest.raises(
            DataError, match=r"a\.tif: is a scanner's slide, which OpenSlide reads, from a disk"
        ):
            open_slide(f"{place}/a.tif")


@pytest.mark.parametrize("name", ["a.svs", "a.mrxs", "a.ndpi", "a.png"])
def test_other_files_must_be_downloaded(name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: is an address, and only OME-Zarr and TIFF .*Download the"):
        read_image(f"https://example.org/{name}")


@pytest.mark.parametrize("text", ["https://a:b@c.d/e.tif", "https://c.d/e.tif?key=f", "https://c.d/e.tif#f"])
def test_secrets_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="is an address with a password, or with a part after"):
        open_slide(text)


def test_other_schemes_are_refused() -> None:
    with pytest.raises(DataError, match="only https://, http:// and s3:// are read"):
        open_slide("ftp://c.d/e.tif")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "fsspec"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[s3\]"'):
        open_slide("s3://bucket/a.tif")
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[remote\]"'):
        open_slide("https://c.d/a.tif")


def test_an_address_stays_one() -> None:
    path = Path("https://c.d/e/f.ome.zarr")
    assert is_address(path) and address(path) == "https://c.d/e/f.ome.zarr"
    assert address(Path("s3://bucket/e.tif")) == "s3://bucket/e.tif"
    assert files_of([path, path]) == [path]
    assert file_state(path) == (None, None)
