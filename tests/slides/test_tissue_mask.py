"""What a thumbnail shows where: tissue, all of it and none of empty glass, and what hides it."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nucseg_jax import sample
from nucseg_jax.errors import UserError
from nucseg_jax.slides import open_slide, slide_of_array
from nucseg_jax.slides.tissue_mask import MASK_MPP, MASKABLE, Kind, SlideKinds, slide_kinds

GLASS = (243, 242, 244)
EOSIN = (226, 160, 190)
MPP = 0.5
TISSUE = sample(MPP)
"""Skin, 511 × 511 pixels, 255 × 255 µm; a few gaps in it are glass."""


def noisy(colour: tuple[int, int, int], shape: tuple[int, int], sigma: float = 2.0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, sigma, (*shape, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def on_glass(glass: tuple[int, int, int] = GLASS) -> NDArray[np.uint8]:
    """A slide of 1 × 1 mm with the tissue in its middle, where rows and columns are 800 … 1200 of 2000."""
    slide = noisy(glass, (2000, 2000))
    slide[800:1200, 800:1200] = TISSUE[50:450, 50:450]
    return slide


def found(slide: NDArray[np.uint8]) -> SlideKinds:
    with slide_of_array(slide, MPP) as opened:
        return slide_kinds(opened.thumbnail(round(max(slide.shape) * MPP / MASK_MPP)))


def at(kinds: SlideKinds, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The kinds of thumbnail pixels that lie wholly in a mask of the slide's pixels."""
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(kinds.kinds.shape[::-1], Image.Resampling.BOX)
    return kinds.kinds[np.asarray(small) == 255]


def masked(kinds: SlideKinds) -> dict[str, float]:
    """The shares of what is neither glass nor tissue."""
    return {kind: share for kind, share in kinds.shares().items() if kind in MASKABLE and share}


@given(
    st.integers(215, 255),
    st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.integers(-6, 6)),
    st.floats(0, 3),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_an_empty_slide_has_none(
    grey: int, tint: tuple[int, int, int], noise: float, shape: tuple[int, int]
) -> None:
    """Whatever the lamp's colour."""
    colour = tuple(min(255, max(200, grey + t)) for t in tint)
    assert not slide_kinds(noisy(colour, shape, noise)).searched.any()


@pytest.mark.parametrize("colour", [EOSIN, (120, 70, 150), (235, 205, 220), (60, 40, 90)])
@pytest.mark.parametrize("shape", [(50, 70), (8, 8), (1, 1)])
def test_a_picture_full_of_tissue_is_all_tissue(colour: tuple[int, int, int], shape: tuple[int, int]) -> None:
    kinds = slide_kinds(noisy(colour, shape, 3.0))
    assert kinds.tissue.all() and kinds.searched.all()


def test_tissue_with_holes_of_glass_is_found_and_glass_far_from_it_is_not() -> None:
    picture = noisy(GLASS, (100, 100))
    picture[20:60, 20:60] = noisy(EOSIN, (40, 40), 6.0)
    kinds = slide_kinds(picture)
    assert kinds.searched[18:62, 18:62].all()
    assert not kinds.searched[:14].any() and not kinds.searched[70:].any()
    assert not kinds.searched[:, 70:].any()
    expected = np.zeros((100, 100), bool)
    expected[20:60, 20:60] = True
    assert kinds.tissue[expected].all() and kinds.tissue.sum() < 1.11 * expected.sum()


def test_pale_tissue_and_a_nucleus_alone_count() -> None:
    picture = noisy(GLASS, (100, 100))
    picture[10:20, 10:20] = (236, 222, 232)
    picture[70, 70] = (170, 140, 190)  # half of a pixel
    mask = slide_kinds(picture).searched
    assert mask[10:20, 10:20].all() and mask[68:73, 68:73].all()
    assert mask.sum() < 350


def test_a_shaded_lamp_is_no_tissue() -> None:
    shade = np.linspace(246, 238, 200)
    picture = np.tile(shade[:, None, None], (1, 100, 3)).astype(np.uint8)
    assert not slide_kinds(picture).searched.any()


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 3\], got float64 \(5, 5\)"):
        slide_kinds(np.zeros((5, 5)))
    with pytest.raises(UserError, match=r"instances\.masked has pens, but can have pen, black, fill, fold"):
        slide_kinds(TISSUE, ("black", "pens"))
    for wrong in ([1], "a" * 5000):
        with pytest.raises(UserError, match="instances.masked has .* only: name some") as error:
            slide_kinds(TISSUE, ("black", wrong))  # type: ignore[arg-type]
        assert len(str(error.value)) < 200


def test_large_pictures_are_taken_in_strips() -> None:
    picture = noisy(GLASS, (700, 90))
    picture[100:600:7, 20:60] = noisy(EOSIN, (72, 40))
    picture[250:262, 30:50] = (30, 110, 190)
    picture[400:430, :15] = 0
    picture[500:530, 70:] = 255
    whole = slide_kinds(picture).kinds
    assert set(np.unique(whole)) == {Kind.GLASS, Kind.TISSUE, Kind.PEN, Kind.BLACK, Kind.FILL}
    np.testing.assert_array_equal(slide_kinds(picture, strip_px=13).kinds, whole)
    np.testing.assert_array_equal(slide_kinds(picture, strip_px=13, glass_pixels=20_000).kinds, whole)


def test_real_tissue_is_not_masked() -> None:
    """Its keratin is as dense as tissue gets; turned to blue or red by a tenth of its density it is, too."""
    kinds = found(TISSUE)
    assert masked(kinds) == {} and kinds.tissue.mean() > 0.92
    density = np.log(255 / np.maximum(TISSUE.astype(float), 1))
    for change in itertools.product((0.9, 1.0, 1.1), repeat=3):
        image = np.rint(255 * np.exp(-density * change)).astype(np.uint8)
        assert masked(found(image)) == {}, change
    for side in (16, 40, 128):  # pictures of 1, 3 and 8 pixels
        assert masked(found(TISSUE[100 : 100 + side, 200 : 200 + side])) == {}


@pytest.mark.parametrize("level", [0, 12, 30])
def test_a_black_border_is_black_and_the_tissue_in_it_is_tissue(level: int) -> None:
    slide = noisy((level,) * 3, TISSUE.shape[:2])
    slide[120:390, 130:400] = TISSUE[120:390, 130:400]
    kinds = found(slide)
    inner, border = np.zeros(slide.shape[:2], bool), np.ones(slide.shape[:2], bool)
    inner[145:365, 155:375] = True  # a pixel and a half of the thumbnail from the border
    border[120:390, 130:400] = False
    assert (at(kinds, inner) == Kind.TISSUE).all() and (at(kinds, border) == Kind.BLACK).all()
    assert not kinds.searched[:7].any()
    assert kinds.tissue.mean() == pytest.approx(270 * 270 / 511**2, rel=0.2)


@pytest.mark.parametrize("level", [0, 128, 200])
def test_never_scanned_parts_are_black_or_fill(level: int) -> None:
    slide = on_glass()
    slide[:, :300] = level
    slide[900:1000, 1100:1600] = level  # over tissue and glass
    kinds = found(slide)
    parts = np.zeros(slide.shape[:2], bool)
    parts[:, :300] = parts[900:1000, 1100:1600] = True
    kind = Kind.BLACK if level == 0 else Kind.FILL
    assert (at(kinds, parts) == kind).all()
    parts[800:1200, 800:1200] = True
    tissue = ~parts
    tissue[816:1184, 816:1080] = True
    assert set(np.unique(at(kinds, tissue))) <= {Kind.GLASS, Kind.TISSUE, kind}
    whole = np.zeros_like(parts)
    whole[816:1184, 816:1080] = True
    assert (at(kinds, whole) == Kind.TISSUE).mean() > 0.95


@pytest.mark.parametrize("glass", [(240, 240, 240), (243, 238, 244), (222, 225, 220)])
def test_white_fill_beside_darker_glass_makes_no_tissue_of_it(glass: tuple[int, int, int]) -> None:
    slide = on_glass(glass)
    before = found(slide)
    slide[:, :700] = 255
    slide[:500] = 255
    kinds = found(slide)
    filled = np.zeros(slide.shape[:2], bool)
    filled[:, :700] = filled[:500] = True
    assert (at(kinds, filled) == Kind.FILL).all()
    np.testing.assert_array_equal(kinds.tissue, before.tissue)
    assert kinds.shares()["fill"] == pytest.approx(1 - 0.75 * 0.65, abs=0.03)


def test_white_glass_is_glass() -> None:
    """A scanner may give pure white for glass: pale tissue beside it is not taken for the glass."""
    slide = on_glass((255, 255, 255))
    slide[slide.min(axis=2) > 245] = 255
    slide[200:400, 200:400] = noisy((238, 224, 234), (200, 200), 4.0)
    kinds = found(slide)
    assert kinds.shares()["fill"] == 0
    pale = np.zeros(slide.shape[:2], bool)
    pale[200:400, 200:400] = True
    assert (at(kinds, pale) == Kind.TISSUE).all()
    assert kinds.tissue.mean() == pytest.approx((400**2 + 200**2) / 2000**2, rel=0.15)


def test_transparent_parts_are_no_tissue(tmp_path) -> None:
    opacity = np.zeros((2000, 2000, 1), np.uint8)
    opacity[600:1500, 600:1500] = 255
    Image.fromarray(np.concatenate([on_glass((235, 236, 238)), opacity], axis=2)).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", MPP) as slide:
        kinds = slide_kinds(slide.thumbnail(125))
    assert (at(kinds, opacity[..., 0] == 0) == Kind.FILL).all()
    tissue = np.zeros(opacity.shape[:2], bool)
    tissue[800:1200, 800:1200] = True
    assert (at(kinds, tissue) == Kind.TISSUE).mean() > 0.95
    assert kinds.tissue.mean() == pytest.approx(0.04, rel=0.12)


PENS = {
    "blue": (0.2, 0.4, 0.75),
    "dark blue": (0.1, 0.2, 0.5),
    "green": (0.25, 0.7, 0.45),
    "black": (0.15, 0.14, 0.16),
    "red": (0.9, 0.08, 0.1),
}
"""The light that a stroke lets pass, of 1."""


@pytest.mark.parametrize("pen", PENS)
def test_pens_over_tissue_and_over_glass(pen: str) -> None:
    slide = on_glass()
    drawn = Image.new("L", (2000, 2000))
    ImageDraw.Draw(drawn).line([(200, 1000), (1800, 1040)], fill=255, width=80)
    stroke = np.asarray(drawn) > 0
    slide[stroke] = np.rint(slide[stroke] * np.array(PENS[pen])).astype(np.uint8)
    kinds = found(slide)
    kind = Kind.BLACK if pen == "black" else Kind.PEN
    over_tissue = np.zeros(stroke.shape, bool)
    over_tissue[:, 800:1200] = stroke[:, 800:1200]
    assert (at(kinds, over_tissue) > Kind.TISSUE).mean() > 0.95
    assert (at(kinds, stroke & ~over_tissue) == kind).all()
    far = np.ones(stroke.shape, bool)
    far[920:1120] = False
    np.testing.assert_array_equal(at(kinds, far), at(found(on_glass()), far))
    assert not (kinds.searched & kinds.masked).any()


def test_what_is_masked_may_be_chosen() -> None:
    """As for sections with a blue counterstain, on which "pen" would be tissue."""
    picture = noisy(GLASS, (60, 60))
    picture[10:30, 10:30] = (30, 110, 190)
    picture[40:50, 40:50] = 0
    assert slide_kinds(picture).tissue.sum() == 0
    kinds = slide_kinds(picture, ("black",))
    assert kinds.tissue[10:30, 10:30].all() and kinds.masked[40:50, 40:50].all()
    assert slide_kinds(picture, ()).tissue[40:50, 40:50].all()


def test_only_folds_that_are_denser_than_any_tissue_are_masked() -> None:
    """Twice as dense as its surroundings is what nuclei beside stroma are, too: no fold is masked by that."""
    once = noisy((150, 90, 160), (40, 40))
    twice = np.rint(once.astype(float) ** 2 / 255).astype(np.uint8)
    picture = np.concatenate([noisy(EOSIN, (40, 40)), twice])
    assert masked(slide_kinds(picture)) == {}
    dense = noisy((45, 18, 42), (40, 40), 1.0)
    kinds = slide_kinds(np.concatenate([noisy(EOSIN, (40, 40)), dense]))
    assert (kinds.kinds[41:] == Kind.FOLD).all() and kinds.tissue[:38].all()


def test_a_speck_of_ink_is_tissue() -> None:
    picture = noisy(EOSIN, (40, 40))
    picture[20, 20] = (0, 90, 160)
    assert slide_kinds(picture).tissue.all()
    picture[20:22, 20:22] = (0, 90, 160)
    assert slide_kinds(picture).kinds[20, 20] == Kind.PEN
