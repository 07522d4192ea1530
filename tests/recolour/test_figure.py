"""The figure: images before and after, their stains alone, and captions."""

import numpy as np
import pytest

from nucseg_jax.recolour.figure import MOST_ROWS, Row, before_after, shrink
from nucseg_jax.slides import read_image
from nucseg_jax.stain import ReinhardNormalizer, Stains
from nucseg_jax.stain.optical_density import optical_density
from nucseg_jax.stain.separation import SEPARATION_SPARSITY, concentrations
from tests.recolour.stained_images import TARGET, WHITE, record, run, tissue


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
    sheet = read_image(out / "before_after.png").pixels
    left = [16 + 330 * column for column in range(4)]
    assert places(sheet, enlarged(tissue(0), 3), left[0])
    for name in ("a.png", "b.tif"):
        image = read_image(tiles / name).pixels
        (row,) = places(sheet, enlarged(image, 3), left[0])
        assert places(sheet, enlarged(read_image(out / name).pixels, 3), left[1]) == [row]
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
