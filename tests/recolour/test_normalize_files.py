"""`nucseg stain`: files in, files out, and what it says."""

import os
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from nucseg_jax.cli import main
from nucseg_jax.io import files
from nucseg_jax.io.locks import lock_inside
from nucseg_jax.slides import read_image
from nucseg_jax.stain import NORMALIZERS, VahadaneNormalizer
from tests.io.test_locks import Holder
from tests.recolour.stained_images import BLUER, REDDER, WHITE, failure, record, run, save, tissue, written
from tests.slides.pictures import leica

# --- what is written ---


def test_a_folder(tiles, target, out, capsys):
    assert run(tiles, target=target, out=out) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"wrote 2 images, before_after.png and stain.json to {out}: ")
    assert said.out.endswith(" images/s\n") and "2/2" in said.err and "image/s" in said.err
    assert written(out) == ["a.png", "b.tif", "before_after.png", "stain.json"]
    normalizer = VahadaneNormalizer().fit(tissue(0))
    for name, image in (("a.png", tissue(1, BLUER)), ("b.tif", tissue(2, REDDER))):
        np.testing.assert_array_equal(read_image(out / name).pixels, normalizer.transform(image))
    for name, kind in (("a.png", "PNG"), ("b.tif", "TIFF")):
        with Image.open(out / name) as image:
            assert image.format == kind


@pytest.mark.parametrize("method", ["reinhard", "identity"])
def test_other_methods(tiles, target, out, tmp_path, method):
    assert run(tiles / "a.png", target=target, out=out, options=["--method", method]) == 0
    normalizer = NORMALIZERS[method]().fit(tissue(0))
    expected = normalizer.transform(tissue(1, BLUER))
    np.testing.assert_array_equal(read_image(out / "a.png").pixels, expected)
    assert (method == "identity") == (expected == tissue(1, BLUER)).all()
    assert record(out)["images"]["a.png"].keys() >= set(normalizer.target._fields)
    # The record says the method.
    run(tiles / "a.png", target=out / "stain.json", out=tmp_path / "again")
    np.testing.assert_array_equal(read_image(tmp_path / "again" / "a.png").pixels, expected)


@pytest.mark.parametrize("ending", ["bmp", "jpg"])
def test_other_formats_in(tmp_path, target, out, ending):
    path = save(tmp_path / f"a.{ending}", tissue(1))
    assert run(path, target=target, out=out, options=["--method", "identity"]) == 0
    np.testing.assert_array_equal(read_image(out / "a.png").pixels, read_image(path).pixels)


def test_a_slide_on_a_larger_canvas(tmp_path, target, out):
    """What was scanned is taken, unless the whole canvas is asked for."""
    path = leica(tmp_path / "a.scn", tissue(1), 1, (400, 300, 17, 40))
    options = ["--method", "identity"]
    assert run(path, target=target, out=out, options=options) == 0
    np.testing.assert_array_equal(read_image(out / "a.png").pixels, tissue(1))
    assert record(out)["notes"]["a.scn"][0].startswith("cropped to what was scanned")
    assert run(path, target=target, out=out, options=[*options, "--no-crop", "--overwrite"]) == 0
    assert read_image(out / "a.png").pixels.shape == (400, 300, 3) and not record(out)["notes"]


def test_together(tmp_path, target, out):
    # As many pixels together as one image of the other tests, for which XLA has compiled.
    images = {"a": tissue(1, BLUER, 48), "b": tissue(2, REDDER, 48)}
    for name, image in images.items():
        save(tmp_path / "tiles" / f"{name}.png", image)
    assert run(tmp_path / "tiles", target=target, out=out, options=["--together"]) == 0
    normalizer = VahadaneNormalizer().fit(tissue(0))
    source = normalizer.estimate(list(images.values())).style
    for name, image in images.items():
        np.testing.assert_array_equal(
            read_image(out / f"{name}.png").pixels, normalizer.transform(image, source=source)
        )
    found = record(out)
    assert found["together"] is True
    assert found["images"]["a.png"]["matrix"] == source.matrix.tolist()
    assert found["images"]["a.png"] == found["images"]["b.png"]


# --- what is said of pixels ---


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 3
    return exif


@pytest.mark.parametrize("options", [[], ["--together"]])
def test_pixels_that_are_converted_or_not_turned(tmp_path, target, out, capsys, options):
    (tmp_path / "tiles").mkdir()
    Image.fromarray(tissue(0)).save(target, dpi=(72, 72), exif=_turned())
    deep = np.round(tissue(1) / 255 * 4095).astype(np.uint16)
    (tmp_path / "tiles" / "a.png").write_bytes(imagecodecs.png_encode(deep))
    Image.fromarray(tissue(2)[:48]).save(tmp_path / "tiles" / "b.tif", tiffinfo={274: 6})
    options = [*options, "--method", "identity", "--white", "4095"]
    assert run(tmp_path / "tiles", target=target, out=out, options=options) == 0
    np.testing.assert_array_equal(read_image(out / "a.png").pixels, tissue(1))
    np.testing.assert_array_equal(read_image(out / "b.tif").pixels, tissue(2)[:48])
    said = capsys.readouterr().err
    first, second = (record(out)["notes"][name] for name in ("a.png", "b.tif"))
    assert first[0].startswith("16 bits a channel, ") and first[0].endswith("white is 4,095, as given")
    assert second[1].startswith("orientation tag 6 is not applied")
    assert said.count(f"{tmp_path / 'tiles' / 'a.png'}: {first[0]}") == 1
    assert said.count(f"{tmp_path / 'tiles' / 'b.tif'}: {second[1]}") == 1
    (of_target,) = (note for note in record(out)["target_notes"] if note.startswith("orientation tag 3"))
    assert said.count(f"{target}: {of_target}") == 1 and record(out)["skipped"] == {}


def test_images_of_one_camera_have_one_white(tmp_path, target, out, capsys):
    for name, glass in (("a.png", 231), ("b.png", 240), ("c.png", 248)):
        picture = np.minimum(tissue(1), 225)
        picture[:30] = glass
        deep = np.round(picture / 255 * 0.84 * 65535).astype(np.uint16)
        (tmp_path / name).write_bytes(imagecodecs.png_encode(deep))
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    assert run(*files, target=target, out=out, options=["--method", "identity"]) == 0
    said = capsys.readouterr().err
    assert said.count("in all files, the median of") == 1
    first, second, third = (read_image(out / path.name).pixels for path in files)
    np.testing.assert_array_equal(first[30:], second[30:])
    np.testing.assert_array_equal(first[30:], third[30:])
    assert (second[:30] == 241).all()


def test_a_white_that_is_none(tiles, target, out, capsys):
    assert run(tiles, target=target, out=out, options=["--white", "70000"]) == 2
    assert "--white 70000: is not within" in capsys.readouterr().err and not out.exists()


# --- images that cannot be used ---


def test_a_damaged_image_is_skipped(tiles, target, out, capsys):
    whole = (tiles / "a.png").read_bytes()
    (tiles / "a.png").write_bytes(whole[: len(whole) // 2])
    for options in (["--overwrite"], ["--overwrite", "--together"]):
        assert run(tiles, target=target, out=out, options=options) == 1
        said = capsys.readouterr()
        assert said.out.startswith("wrote 1 images")
        assert said.err.endswith("error: 1 of 2 images could not be read\n")
        (line,) = [line for line in said.err.splitlines() if line.startswith("skipped: ")]
        assert str(tiles / "a.png") in line and "truncated or damaged" in line
        assert written(out) == ["b.tif", "before_after.png", "stain.json"]
        assert list(record(out)["images"]) == ["b.tif"]
        assert record(out)["skipped"] == {"a.png": line.removeprefix("skipped: ")}


@pytest.mark.parametrize("options", [[], ["--together"]])
def test_no_image_can_be_read(tmp_path, target, out, capsys, options):
    (tmp_path / "a.png").write_text("hello")
    assert run(tmp_path / "a.png", target=target, out=out, options=options) == 1
    assert capsys.readouterr().err.endswith("error: wrote nothing: none of 1 images could be read\n")
    assert not out.parent.exists()


def test_a_blank_target(tiles, tmp_path, out, capsys):
    blank = save(tmp_path / "blank.png", WHITE)
    assert f"error: {blank}: " in failure(capsys, tiles, target=blank, out=out)
    assert not out.parent.exists()


@pytest.mark.parametrize("options", [[], ["--together"]])
def test_a_white_image_falls_back(tmp_path, target, out, capsys, options):
    path = save(tmp_path / "white.png", WHITE)
    assert run(path, target=target, out=out, options=options) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "no stains found" in line and "taken to have the target's" in line
    assert options or str(path) in line
    found = record(out)
    assert found["images"]["white.png"]["fell_back"] is True
    assert found["images"]["white.png"]["matrix"] == found["matrix"]
    assert (read_image(out / "white.png").pixels >= 250).all()


# --- options ---


def test_options(capsys):
    assert main(["stain", "a.png", "--out", "x"]) == 2
    assert "error: Missing option '--target'" in capsys.readouterr().err


def test_help():
    command = [sys.executable, "-m", "nucseg_jax.stain", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--target" in shown and "--together" in shown and "vahadane" in shown


# --- whole or not at all ---


def test_a_failed_write_leaves_older_files_as_they_were(tiles, target, out, monkeypatch, capsys):
    out.mkdir(parents=True)
    for name in ("b.tif", "before_after.png", "stain.json"):
        (out / name).write_text("older")
    replace = os.replace

    def full_disk(source, destination):
        if str(destination).endswith("b.tif"):
            raise OSError(28, "No space left on device", str(destination))
        replace(source, destination)

    monkeypatch.setattr(files.os, "replace", full_disk)
    assert run(tiles, target=target, out=out, options=["--method", "identity", "--overwrite"]) == 1
    said = capsys.readouterr()
    assert "error: " in said.err and "b.tif: cannot be written, because the disk" in said.err and not said.out
    assert written(out) == ["a.png", "b.tif", "before_after.png", "stain.json"]
    np.testing.assert_array_equal(read_image(out / "a.png").pixels, tissue(1, BLUER))
    for name in ("b.tif", "before_after.png", "stain.json"):
        assert (out / name).read_text() == "older"


def test_files_that_are_there_are_replaced_only_when_asked(tiles, target, out, capsys):
    out.mkdir(parents=True)
    for name in ("b.tif", "stain.json"):
        (out / name).write_text("precious")
    said = failure(capsys, tiles, target=target, out=out)
    assert said == (
        f"error: files are there already:\n  {out / 'b.tif'}\n  {out / 'stain.json'}\n"
        "Give --overwrite to replace them, or another --out\n"
    )
    assert written(out) == ["b.tif", "stain.json"] and (out / "b.tif").read_text() == "precious"
    assert run(tiles, target=target, out=out, options=["--method", "identity", "--overwrite"]) == 0
    assert written(out) == ["a.png", "b.tif", "before_after.png", "stain.json"]


def test_two_processes_in_one_folder(tiles, target, out, capsys):
    out.mkdir(parents=True)
    with Holder(lock_inside(out)) as holder:
        assert run(tiles, target=target, out=out) == 2
        assert f"error: {out}: process {holder.pid} on " in capsys.readouterr().err
    assert written(out) == []


def test_a_link_to_nothing_is_said_and_counted(tiles, target, out, capsys):
    (tiles / "gone.png").symlink_to(tiles / "nowhere.png")
    assert run(tiles, target=target, out=out) == 1
    said = capsys.readouterr().err
    assert f"skipped: {tiles / 'gone.png'}: is a link to {tiles / 'nowhere.png'}, which is not there" in said
    assert "error: 1 of 3 images could not be read" in said
