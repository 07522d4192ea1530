"""OME-Zarr: axes in any order, both versions, chunk by chunk; what is no H&E, or damaged, is refused."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.slides import open_slide, read_image, shared_white
from tests.slides.pictures import opened, picture
from tests.slides.test_white import deep, tissue_and_glass

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

from tests.slides.ome_zarr import drawn  # noqa: E402

WRITTEN = Path(drawn.__file__).parent


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_ome_zarr_has_written_is_read(tmp_path: Path, version: str) -> None:
    """By ome-zarr 0.18.0 (make_written.py): levels of sizes that are no halves, in scale and in pixels."""
    zipfile.ZipFile(WRITTEN / f"ngff_{version}.zip").extractall(tmp_path)
    with open_slide(tmp_path / "a.ome.zarr") as slide:
        assert slide.size == (90, 130) and slide.is_slide
        assert slide.mpp == pytest.approx(0.5) and slide.mpp_source == "OME-Zarr scale"
        np.testing.assert_array_equal(slide.region(0, 0, 90, 130, 0.5), picture())
        half = slide.region(0, 0, 45, 65, 1.0).astype(int)
        assert np.abs(half - np.asarray(picture()[::2, ::2], int)).max() <= 8
        assert any("taken to be red, green and blue" in note for note in slide.notes)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "tczyx", "czyx", "yxc", "xyc"])
def test_axes_in_any_order(tmp_path: Path, axes: str, version: str) -> None:
    path = drawn.write(tmp_path / "a.zarr", picture(), axes, version=version, levels=3)
    np.testing.assert_array_equal(opened(path), picture())
    np.testing.assert_array_equal(read_image(path).pixels, picture())


def test_channels_in_another_order_are_sorted_by_name(tmp_path: Path) -> None:
    more = {"omero": {"channels": drawn.RGB[::-1]}}
    path = drawn.write(tmp_path / "a.zarr", np.ascontiguousarray(picture()[..., ::-1]), more=more)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, picture())
    assert image.notes == ()


def test_shards_and_packed_chunks(tmp_path: Path) -> None:
    shards = drawn.write(
        tmp_path / "a.zarr", picture(), shards=(3, 64, 96), compressors=zarr.codecs.BloscCodec()
    )
    np.testing.assert_array_equal(read_image(shards).pixels, picture())


def test_only_the_chunks_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drawn.write(tmp_path / "a.zarr", picture(320, 480), version="0.4")
    found = []
    original = zarr.storage.LocalStore.get

    async def get(store: Any, key: str, *more: Any, **options: Any) -> Any:
        found.append(key)
        return await original(store, key, *more, **options)

    with open_slide(path) as slide:
        monkeypatch.setattr(zarr.storage.LocalStore, "get", get)
        region = slide.region(33, 65, 30, 30, 0.5)
        np.testing.assert_array_equal(region, picture(320, 480)[33:63, 65:95])
        assert sorted(found) == [f"0/{channel}/1/2" for channel in range(3)]
        slide.region(34, 66, 20, 20, 0.5)
        assert len(found) == 3  # it was kept


def test_sixteen_bits_follow_the_rules_of_white(tmp_path: Path) -> None:
    path = drawn.write(tmp_path / "a.zarr", deep(tissue_and_glass(), 4095), levels=2)
    image = read_image(path)
    assert np.abs(image.pixels.astype(int) - tissue_and_glass()).max() <= 5
    assert any("white is 4,095" in note for note in image.notes)
    assert shared_white.find([path]) == (4095, ())
    eight = drawn.write(tmp_path / "b.zarr", picture())
    assert shared_white.find([eight]) == (None, ())
    assert "8 bits a channel, so --white 4095 does not count" in read_image(eight, white=4095).notes


@pytest.mark.parametrize(
    ("um", "unit", "mpp"),
    [(0.25, "micrometer", 0.25), (250, "nanometer", 0.25), (0.00025, "millimeter", 0.25), (0.25, "", None)],
)
def test_resolution_is_that_of_the_axes(tmp_path: Path, um: float, unit: str, mpp: float | None) -> None:
    path = drawn.write(tmp_path / "a.zarr", picture(), um=um, unit=unit)
    with open_slide(path) as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))
    pyramid = drawn.write(tmp_path / "b.zarr", picture(), um=um, unit=unit, levels=2)
    if mpp is None:
        with pytest.raises(DataError, match=r"b\.zarr: no resolution \(its axes have no unit of length\)"):
            open_slide(pyramid)
    with open_slide(pyramid, 0.5) as slide:
        assert slide.mpp == 0.5


def test_a_scale_of_the_whole_pyramid_counts(tmp_path: Path) -> None:
    more = drawn.metadata()
    more["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    with open_slide(drawn.write(tmp_path / "a.zarr", picture(), more=more)) as slide:
        assert slide.mpp == pytest.approx(0.25)


def test_the_first_image_of_bioformats2raw_is_read(tmp_path: Path) -> None:
    drawn.write(tmp_path / "a.zarr", picture()[:10], more={"bioformats2raw.layout": 3, "multiscales": None})
    for name in ("0", "1"):
        drawn.write(tmp_path / "a.zarr" / name, picture())
    root = tmp_path / "a.zarr" / "zarr.json"
    root.write_text(
        root.read_text().replace('"multiscales": null,', "").replace('"multiscales": null', '"a": 1')
    )
    image = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.pixels, picture())
    assert "another image in the folder is left out: the first is read" in image.notes


def fluorescence(name: str) -> dict[str, Any]:
    return {"omero": {"channels": [{"label": label, "color": "0000FF"} for label in (name, "FITC", "TRITC")]}}


def changed(**values: Any) -> Callable[[Path], Path]:
    """An image of which the attributes of its multiscales are others."""

    def make(path: Path) -> Path:
        said = drawn.metadata()
        said["multiscales"][0] |= values
        return drawn.write(path, picture(), more=said)

    return make


def pickled(path: Path) -> Path:
    """Chunks that are unpickled: the file's own code would run, which writes a file beside it."""
    drawn.write(path, picture(), version="0.4")
    about = path / "0" / ".zarray"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"compressor": {"id": "pickle"}}))
    for chunk in (path / "0").glob("*/*/*"):
        chunk.write_bytes(pickle.dumps(Touch(path.with_name("it ran"))))
    return path


def encoded(path: Path) -> Path:
    """Chunks in letters."""
    return drawn.write(path, picture(), version="0.4", filters=numcodecs.Base64())


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def empty(path: Path) -> Path:
    path.mkdir()
    return path


def dark(path: Path) -> Path:
    """Bright spots on a dark ground."""
    image = np.full((96, 96, 3), (9, 5, 12), np.uint8)
    image[::9, ::9] = 200, 40, 30
    return drawn.write(path, image)


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "dapi": (
        lambda path: drawn.write(path, picture(), more=fluorescence("DAPI")),
        r"is OME-Zarr with 3 channels \(DAPI, FITC, TRITC\), but networks for H&E need",
    ),
    "dark": (dark, "is fluorescence, or far too dark"),
    "five": (
        lambda path: drawn.write(path, np.zeros((9, 9, 5), np.uint8), more=fluorescence("DAPI")),
        r"is OME-Zarr with 5 channels \(DAPI, FITC, TRITC\)",
    ),
    "one": (lambda path: drawn.write(path, picture()[..., :1]), "is greyscale"),
    "none": (lambda path: drawn.write(path, picture()[..., 0], "yx"), "is greyscale"),
    "float": (lambda path: drawn.write(path, picture().astype("f4")), "is OME-Zarr of float32"),
    "plate": (lambda path: drawn.write(path, picture(), more={"plate": {}}), "is a plate of OME-Zarr"),
    "well": (lambda path: drawn.write(path, picture(), more={"well": {}}), "is a well of a plate"),
    "labels": (lambda path: drawn.write(path, picture(), more={"image-label": {}}), "is a label map of OME"),
    "version": (
        lambda path: drawn.write(path, picture(), version="0.6"),
        "of version '0.6', and 0.4 and 0.5",
    ),
    "axes": (
        changed(axes=["c", "y", "x"]),
        r"no.* those of an image of OME-Zarr \(axes: \['c', 'y', 'x'\]\)",
    ),
    "scale": (
        changed(
            datasets=[{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, -1, 2]}]}]
        ),
        r"\(scale: \[1, -1, 2\]\)\. Export it again",
    ),
    "path": (changed(datasets=[{"path": "../0", "coordinateTransformations": []}]), r"\(datasets: .*\.\./0"),
    "sizes": (
        changed(
            datasets=[
                {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, s, s]}]}
                for s in (0.5, 1.0)
            ]
        ),
        r"its level 0 has 90 pixels along y, but its scale, 2 times .* says 45\. Export",
    ),
    "pickle": (pickled, r"cannot be read as OME-Zarr|is packed by pickle"),
    "codec": (encoded, r"is packed by base64, which is not unpacked here\. Export it again"),
    "empty": (empty, r"cannot be read as OME-Zarr \(.*\)\. Copy or export it again"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    make(tmp_path / "a.ome.zarr")
    with pytest.raises(DataError, match=rf"a\.ome\.zarr: (.*){message}") as caught:
        open_slide(tmp_path / "a.ome.zarr")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "it ran").exists()


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    path = drawn.write(tmp_path / "a.zarr", picture(320, 480), version="0.4", levels=2)
    (path / "0" / "1" / "5" / "5").write_bytes(b"nothing")
    with open_slide(path) as slide:
        slide.region(0, 0, 32, 32, 0.5)
        with pytest.raises(DataError, match=r"a\.zarr: cannot be read as OME-Zarr"):
            slide.region(160, 160, 32, 32, 0.5)


def test_without_zarr_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drawn.write(tmp_path / "a.zarr", picture())
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[zarr\]" -c constraints.txt'):
        open_slide(path)
