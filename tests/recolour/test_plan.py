"""Which files are read and written, and what is refused before any work."""

import numpy as np
import pytest

from nucseg_jax.slides import read_image
from tests.recolour.stained_images import failure, record, run, save, tissue


def test_the_same_file_twice_counts_once(tiles, target, out):
    assert run(tiles, tiles / "a.png", target=target, out=out, options=["--method", "identity"]) == 0
    assert list(record(out)["images"]) == ["a.png", "b.tif"]


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
    np.testing.assert_array_equal(read_image(target).pixels, tissue(0))
    options = ["--method", "identity"]
    run(tiles, target=target, out=out, options=options)
    said = failure(capsys, tiles / "a.png", target=out / "stain.json", out=out, options=options)
    assert str(out / "stain.json") in said


def test_nor_is_an_image_by_the_figure(tmp_path, target, out, capsys):
    path = save(tmp_path / "before_after.jpg", tissue(1))
    assert f"{path}: " in failure(capsys, path, target=target, out=out)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no such file or folder"),
        ("empty", "no slide or image"),
        ("notes.txt", "is not one of .svs"),
    ],
)
def test_no_images(tmp_path, target, out, capsys, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    said = failure(capsys, tmp_path / name, target=target, out=out)
    assert f"{tmp_path / name}: {message}" in said


def test_the_output_folder_is_a_file(tiles, target, capsys):
    assert "is a file" in failure(capsys, tiles, target=target, out=target)
