"""python -m nucseg_jax.stain: files in, files out, and what it says."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import nucseg_jax
from nucseg_jax import files
from nucseg_jax.images import read_image
from nucseg_jax.stain import NORMALIZERS, ReinhardNormalizer, Stains, VahadaneNormalizer
from nucseg_jax.stain.__main__ import main
from nucseg_jax.stain.figure import MOST_ROWS, Row, before_after, shrink
from nucseg_jax.stain.optical_density import optical_density
from nucseg_jax.stain.separation import SEPARATION_SPARSITY, concentrations

# Stain vectors of three laboratories.
TARGET = ((0.65, 0.70, 0.29), (0.22, 0.80, 0.56))
BLUER = ((0.68, 0.66, 0.31), (0.15, 0.83, 0.54))
REDDER = ((0.55, 0.75, 0.36), (0.20, 0.86, 0.47))
WHITE = np.full((96, 96, 3), 255, np.uint8)


def tissue(seed, vectors=TARGET, height=96, width=96):
    """A picture of two stains: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.3, (height, width, 2)) * (rng.random((height, width, 2)) < 0.7)
    return (255 * np.exp(-amounts @ np.array(vectors))).clip(0, 255).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    return path


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


def run(*images, target, out, options=()):
    return main([*map(str, images), "--target", str(target), "--out", str(out), *options])


def written(out):
    return sorted(path.name for path in out.iterdir())


def record(out):
    return json.loads((out / "stain.json").read_text())


def failure(capsys, *images, target, out, options=()):
    """What a run says that does nothing."""
    capsys.readouterr()
    assert run(*images, target=target, out=out, options=options) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and "Traceback" not in said.err
    return said.err


# What is written


def test_a_folder(tiles, target, out, capsys):
    assert run(tiles, target=target, out=out) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"wrote 2 images, before_after.png and stain.json to {out}: ")
    assert said.out.endswith(" images/s\n") and "2/2" in said.err and "image/s" in said.err
    assert written(out) == ["a.png", "b.tif", "before_after.png", "stain.json"]
    normalizer = VahadaneNormalizer().fit(tissue(0))
    for name, image in (("a.png", tissue(1, BLUER)), ("b.tif", tissue(2, REDDER))):
        np.testing.assert_array_equal(read_image(out / name), normalizer.transform(image))
    for name, kind in (("a.png", "PNG"), ("b.tif", "TIFF")):
        with Image.open(out / name) as image:
            assert image.format == kind


def test_the_record(tiles, target, out):
    run(tiles, target=target, out=out)
    normalizer = VahadaneNormalizer().fit(tissue(0))
    found = record(out)
    assert found["versions"] == {"nucseg_jax": nucseg_jax.__version__, "jax": jax.__version__}
    assert found["target"] == "target.png" and found["together"] is False
    assert found.items() >= normalizer.to_dict().items()
    assert list(found["images"]) == ["a.png", "b.tif"]
    own = normalizer.estimate(tissue(2, REDDER)).style
    assert found["images"]["b.tif"] == {
        "fell_back": False,
        "matrix": own.matrix.tolist(),
        "max_concentrations": own.max_concentrations.tolist(),
    }


def test_the_record_as_target(tiles, target, out, tmp_path):
    run(tiles, target=target, out=out)
    target.unlink()
    again = tmp_path / "again"
    assert run(tiles, target=out / "stain.json", out=again) == 0
    for name in ("a.png", "b.tif"):
        np.testing.assert_array_equal(read_image(again / name), read_image(out / name))
    assert record(again) == record(out)


@pytest.mark.parametrize("method", ["reinhard", "identity"])
def test_other_methods(tiles, target, out, tmp_path, method):
    assert run(tiles / "a.png", target=target, out=out, options=["--method", method]) == 0
    normalizer = NORMALIZERS[method]().fit(tissue(0))
    expected = normalizer.transform(tissue(1, BLUER))
    np.testing.assert_array_equal(read_image(out / "a.png"), expected)
    assert (method == "identity") == (expected == tissue(1, BLUER)).all()
    assert record(out)["images"]["a.png"].keys() >= set(normalizer.target._fields)
    # The record says the method.
    run(tiles / "a.png", target=out / "stain.json", out=tmp_path / "again")
    np.testing.assert_array_equal(read_image(tmp_path / "again" / "a.png"), expected)


@pytest.mark.parametrize("ending", ["bmp", "jpg"])
def test_other_formats_in(tmp_path, target, out, ending):
    path = save(tmp_path / f"a.{ending}", tissue(1))
    assert run(path, target=target, out=out, options=["--method", "identity"]) == 0
    np.testing.assert_array_equal(read_image(out / "a.png"), read_image(path))


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
            read_image(out / f"{name}.png"), normalizer.transform(image, source=source)
        )
    found = record(out)
    assert found["together"] is True
    assert found["images"]["a.png"]["matrix"] == source.matrix.tolist()
    assert found["images"]["a.png"] == found["images"]["b.png"]


def test_the_same_file_twice_counts_once(tiles, target, out):
    assert run(tiles, tiles / "a.png", target=target, out=out, options=["--method", "identity"]) == 0
    assert list(record(out)["images"]) == ["a.png", "b.tif"]


# Images that cannot be used


def test_a_damaged_image_is_skipped(tiles, target, out, capsys):
    whole = (tiles / "a.png").read_bytes()
    (tiles / "a.png").write_bytes(whole[: len(whole) // 2])
    for options in ([], ["--together"]):
        assert run(tiles, target=target, out=out, options=options) == 1
        said = capsys.readouterr()
        assert said.out.startswith("wrote 1 images") and said.out.endswith("; 1 could not be read\n")
        (line,) = [line for line in said.err.splitlines() if line.startswith("skipped: ")]
        assert str(tiles / "a.png") in line and "truncated or damaged" in line
        assert written(out) == ["b.tif", "before_after.png", "stain.json"]
        assert list(record(out)["images"]) == ["b.tif"]


@pytest.mark.parametrize("options", [[], ["--together"]])
def test_no_image_can_be_read(tmp_path, target, out, capsys, options):
    (tmp_path / "a.png").write_text("hello")
    assert run(tmp_path / "a.png", target=target, out=out, options=options) == 1
    assert capsys.readouterr().out == "wrote nothing: none of 1 images could be read\n"
    assert written(out) == []


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
    assert (read_image(out / "white.png") >= 250).all()


# Errors before any work


def test_two_images_of_one_name(tiles, target, out, tmp_path, capsys):
    other = save(tmp_path / "other" / "B.png", tissue(3))
    said = failure(capsys, tiles, other, target=target, out=out)
    assert f"{tiles / 'b.tif'} and {other}" in said and "Rename them" in said
    assert not out.exists()


def test_many_images_of_one_name_are_not_all_listed(tmp_path, target, out, capsys):
    paths = [tmp_path / folder / f"{i}.png" for i in range(9) for folder in ("x", "y")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert "and 4 more" in failure(capsys, *paths, target=target, out=out)


def test_inputs_are_not_overwritten(tiles, target, tmp_path, capsys):
    before = {path: path.read_bytes() for path in tiles.iterdir() if path.is_file()}
    linked = tmp_path / "linked"
    linked.symlink_to(tiles)
    for folder in (tiles, linked):
        said = failure(capsys, tiles, target=target, out=folder)
        assert str(folder / "a.png") in said and str(folder / "b.tif") in said and "--out" in said
    assert {path: path.read_bytes() for path in tiles.iterdir() if path.is_file()} == before


def test_the_target_is_not_overwritten(tiles, target, out, tmp_path, capsys):
    same_name = save(tmp_path / "other" / "target.png", tissue(3))
    said = failure(capsys, same_name, target=target, out=tmp_path)
    assert str(target) in said
    np.testing.assert_array_equal(read_image(target), tissue(0))
    options = ["--method", "identity"]
    run(tiles, target=target, out=out, options=options)
    said = failure(capsys, tiles / "a.png", target=out / "stain.json", out=out, options=options)
    assert str(out / "stain.json") in said


def test_nor_is_an_image_by_the_figure(tmp_path, target, out, capsys):
    path = save(tmp_path / "before_after.jpg", tissue(1))
    assert f"{path}: " in failure(capsys, path, target=target, out=out)


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent", "no such file or folder"), ("empty", "no image"), ("notes.txt", "is not one of .tif")],
)
def test_no_images(tmp_path, target, out, capsys, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    said = failure(capsys, tmp_path / name, target=target, out=out)
    assert f"{tmp_path / name}: {message}" in said


def test_the_output_folder_is_a_file(tiles, target, capsys):
    assert "is a file" in failure(capsys, tiles, target=target, out=target)


def test_unusable_targets(tiles, out, tmp_path, capsys):
    white = save(tmp_path / "white.png", WHITE)
    said = failure(capsys, tiles, target=white, out=out)
    assert str(white) in said and "Choose an image of well-stained tissue" in said
    absent = tmp_path / "absent.png"
    assert f"{absent}: no such file" in failure(capsys, tiles, target=absent, out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "names no method"),
        ('{"method": ["vahadane"]}', "names no method"),
        ('{"method": "magic"}', "unknown stain normalisation 'magic'"),
        ('{"method": "vahadane", "matrix": [[1, 0, 0]]}', "matrix"),
        ('{"method": "identity"}', "holds a target of identity, not of macenko"),
        (None, "no such file"),
    ],
)
def test_unusable_records(tiles, out, tmp_path, capsys, text, message):
    path = tmp_path / "stain.json"
    if text is not None:
        path.write_text(text)
    said = failure(capsys, tiles, target=path, out=out, options=["--method", "macenko"])
    assert f"{path}: " in said and message in said


def test_options(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["a.png", "--out", "x"])
    assert caught.value.code == 2 and "error: " in capsys.readouterr().err


def test_help():
    command = [sys.executable, "-m", "nucseg_jax.stain", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--target" in shown and "--together" in shown and "vahadane" in shown


# Whole or not at all


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
    assert run(tiles, target=target, out=out, options=["--method", "identity"]) == 2
    said = capsys.readouterr()
    assert "error: " in said.err and "No space left" in said.err and "b.tif" in said.err and not said.out
    assert written(out) == ["a.png", "b.tif", "before_after.png", "stain.json"]
    np.testing.assert_array_equal(read_image(out / "a.png"), tissue(1, BLUER))
    for name in ("b.tif", "before_after.png", "stain.json"):
        assert (out / name).read_text() == "older"


# The figure


def places(sheet, picture, left, tolerance=0):
    """The rows of the sheet where a picture [H, W, 3] begins at this left edge, to so many grey levels."""
    height, width = picture.shape[:2]
    column, wanted = sheet[:, left : left + width].astype(int), np.asarray(picture, int)
    like_first = np.flatnonzero((np.abs(column - wanted[0]) <= tolerance).all(axis=(1, 2)))
    return [t for t in like_first if (np.abs(column[t : t + height] - wanted) <= tolerance).all()]


def enlarged(image, times):
    return image.repeat(times, axis=0).repeat(times, axis=1)


def test_the_figure_shows_before_and_after(tiles, target, out):
    run(tiles, target=target, out=out)
    sheet = read_image(out / "before_after.png")
    left = [16 + 330 * column for column in range(4)]
    assert places(sheet, enlarged(tissue(0), 3), left[0])
    for name in ("a.png", "b.tif"):
        image = read_image(tiles / name)
        (row,) = places(sheet, enlarged(image, 3), left[0])
        assert places(sheet, enlarged(read_image(out / name), 3), left[1]) == [row]
        matrix = np.array(record(out)["images"][name]["matrix"], np.float32)
        density = optical_density(image.reshape(-1, 3).T.astype(np.float32))
        amounts = np.asarray(concentrations(density, matrix, SEPARATION_SPARSITY))
        for stain in range(2):
            alone = np.rint(255 * np.exp(-np.outer(amounts[stain], matrix[stain]))).reshape(image.shape)
            assert places(sheet, enlarged(alone, 3), left[2 + stain], tolerance=1) == [row]
            swatch = np.rint(255 * np.exp(-1.5 * matrix[stain]))
            assert (sheet[row + 288 : row + 320, left[2 + stain] + 2] == swatch).all(axis=-1).any()


STYLE = Stains(np.array(TARGET, np.float32), np.array([1.5, 1.2], np.float32))


def drawn(*rows, count=None, **options):
    defaults = {"method": "vahadane", "target": STYLE, "target_name": "t.png", "target_image": None}
    return before_after(rows, count=len(rows) if count is None else count, **(defaults | options))


def row(image, name="a.png", style=STYLE, found=True):
    return Row(name, image, image, style, found)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (96, 96), (2500, 2000)])
def test_any_size_is_drawn(size):
    image = np.full((*size, 3), (150, 60, 140), np.uint8)
    sheet = drawn(row(image), target_image=image)
    assert sheet.dtype == np.uint8 and sheet.shape[1:] == (1342, 3) and sheet.shape[0] < 1200
    shown = (sheet[:, :336] == (150, 60, 140)).all(axis=-1)
    height = 8 if size == (1, 1) else {96: 288, 2500: 400, 5000: 480, 1: 1}[size[0]]
    assert shown.any(axis=1).sum() == 2 * height  # the target, and the image


def test_shrunk_to_what_is_drawn():
    assert shrink(tissue(1, height=1000, width=500)).shape == (480, 240, 3)
    assert shrink(tissue(1, height=100, width=1000)).shape == (32, 320, 3)
    np.testing.assert_array_equal(shrink(tissue(1)), tissue(1))
    with pytest.raises(ValueError, match="uint8"):
        shrink(WHITE / 255)


def test_captions():
    plain = drawn(row(WHITE))
    for changed in (
        drawn(row(WHITE, name="b.png")),
        drawn(row(WHITE, found=False)),
        drawn(row(WHITE), target_name="u.png"),
        drawn(row(WHITE), together=True),
    ):
        assert changed.shape == plain.shape and (changed != plain).any()


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "line\nbreak.png", "\udcff漢字.png", "", "…"])
def test_names_stay_in_their_column(name):
    sheet = drawn(row(WHITE, name=name))
    changed = (sheet != drawn(row(WHITE, name=" "))).any(axis=(0, 2))
    assert not changed[:14].any() and not changed[16 + 320 :].any()  # an x begins a pixel too far left
    assert changed.any() == bool(name)


def test_only_some_images_are_drawn():
    rows = [row(tissue(i)) for i in range(MOST_ROWS + 2)]
    all_of_them = drawn(*rows[:MOST_ROWS])
    more = drawn(*rows)
    assert len(all_of_them) < len(more) < len(all_of_them) + 50
    np.testing.assert_array_equal(drawn(*rows[:MOST_ROWS], count=MOST_ROWS + 2), more)
    np.testing.assert_array_equal(more[: len(all_of_them) - 16], all_of_them[:-16])


def test_methods_without_stain_vectors_have_two_columns():
    style = ReinhardNormalizer().fit(tissue(0)).target
    sheet = drawn(row(tissue(1), style=style), target=style, method="reinhard")
    assert sheet.shape[1] == 682
    assert places(sheet, enlarged(tissue(1), 3), 16) == places(sheet, enlarged(tissue(1), 3), 346) != []
