"""The stain normalisers as users call them: the target's colours come out, of whatever image went in."""

import json
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_prep import synthetic
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.stain import NORMALIZERS, Estimate, StainNormalizer, from_dict, normalizers
from nucseg_jax.stain.augmentation import augment

SIDE = 64
STAINS = np.array([[0.5582, 0.7276, 0.3987], [0.2004, 0.8419, 0.5011]])
OTHER_STAINS = np.array([[0.6511, 0.7012, 0.2905], [0.1005, 0.9545, 0.2813]])
METHODS = ("vahadane", "macenko", "reinhard")
every_method = pytest.mark.parametrize("name", METHODS)
equal = np.testing.assert_array_equal
equal_leaves = partial(jax.tree.map, equal)


def tissue(seed: int, matrix: np.ndarray = OTHER_STAINS, side: int = SIDE) -> np.ndarray:
    """Two stains, each over 70 % of the pixels: uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.4, (side, side, 2)) * (rng.random((side, side, 2)) < 0.7)
    return np.rint(255 * np.exp(-amounts @ matrix)).astype(np.uint8)


def flat(colour: tuple[int, ...], noise: int = 0) -> np.ndarray:
    change = np.random.default_rng(0).integers(-noise, noise + 1, (SIDE, SIDE, 3))
    return np.clip(np.array(colour) + change, 0, 255).astype(np.uint8)


@cache
def fitted(name: str) -> StainNormalizer:
    return NORMALIZERS[name]().fit(tissue(0, STAINS))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(np.float64(a) - b).mean())


INKS = {"green": (10, 120, 60), "black": (22, 20, 24), "blue": (20, 40, 160)}
WHITE = flat((255, 255, 255))
DEGENERATE = {
    "white": WHITE,
    "noisy white": flat((255, 255, 255), 2),
    "black": flat((0, 0, 0)),
    "noisy black": flat((0, 0, 0), 2),
    "grey": tissue(4)[..., :1].repeat(3, axis=-1),
    **{f"{ink} ink": flat(colour, 6) for ink, colour in INKS.items()},
    "speck of tissue": np.where(np.arange(SIDE)[:, None, None] < 9, tissue(3), WHITE),
}
DRAWN = synthetic.generate(0, 0, "breast", SIDE)[0]
TILES = [tissue(1), WHITE, tissue(2), flat((150, 60, 140), 2), tissue(3), WHITE]
BATCH = jnp.float32([TILES[0], *(tile for shows, tile in DEGENERATE.items() if "noisy" not in shows)])
BY_DEVICE = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))


@every_method
def test_the_target_stays_and_others_get_its_colours(name: str) -> None:
    for image in (tissue(0), DRAWN):
        normalizer = NORMALIZERS[name]().fit(image)
        assert difference(normalizer.transform(image), image) < (0.1 if name == "reinhard" else 2.5)
        assert not normalizer.fell_back
    nearer = difference(fitted(name).transform(tissue(1)), tissue(1, STAINS))
    assert nearer < (8 if name == "reinhard" else 3) < 10 < difference(tissue(1), tissue(1, STAINS))


@every_method
def test_one_style_for_many_images(name: str) -> None:
    halves = np.stack([tissue(1)[:32], tissue(2)[:32]])
    together = fitted(name).estimate(halves)
    for same in (list(halves), [jnp.asarray(halves[0]), halves[1].reshape(-1, 3)], halves.reshape(-1, 3)):
        equal_leaves(fitted(name).estimate(same), together)
        equal_leaves(NORMALIZERS[name]().fit(same).target, together.style)
    own = fitted(name).estimate(tissue(1)).style
    both = fitted(name).transform(np.stack([tissue(1), tissue(2)]), source=own)
    assert fitted(name).fell_back.tolist() == [False, False]
    equal(both[0], fitted(name).transform(tissue(1)))
    assert not np.array_equal(both[1], fitted(name).transform(tissue(2)))
    equal_leaves(fitted(name).estimate(WHITE, fallback=own), Estimate(own, False))
    equal(fitted(name).transform(tissue(1)[:9], fallback=own), both[0, :9])


@cache
def one_by_one(name: str) -> tuple[np.ndarray, np.ndarray]:
    results = [(fitted(name).transform(tile), fitted(name).fell_back) for tile in TILES]
    return np.stack([image for image, _ in results]), np.stack([fell_back for _, fell_back in results])


@every_method
@given(chosen=arrays(np.int8, st.lists(st.integers(0, 2), max_size=3).map(tuple), elements=st.integers(0, 5)))
@settings(max_examples=15)
def test_a_batch_is_its_images_one_by_one(name: str, chosen: np.ndarray) -> None:
    expected, fell_back = one_by_one(name)
    result = fitted(name).transform(np.stack(TILES)[chosen])
    assert result.shape == (*chosen.shape, SIDE, SIDE, 3) and result.dtype == np.uint8
    equal(result, expected[chosen])
    equal(fitted(name).fell_back, fell_back[chosen])


@every_method
def test_pieces_and_groups_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, fell_back = one_by_one(name)
    assert fell_back.tolist() == [False, True] * 3
    monkeypatch.setattr(normalizers, "PIECE_PIXELS", 1000)
    equal(fitted(name).transform(np.stack(TILES)), expected)
    if name == "reinhard":  # as on accelerators: four images at once, then two and two of padding
        monkeypatch.setattr(normalizers, "PIECE_PIXELS", 4 * SIDE**2)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        result = fitted(name).transform(np.stack(TILES))
        assert np.abs(result.astype(int) - expected).max() <= 1 and difference(result, expected) < 0.01
        equal(fitted(name).fell_back, fell_back)


def check_fallback(image: np.ndarray) -> None:
    """Every method says so, and takes the image to have the target's style."""
    for normalizer in map(fitted, METHODS):
        result = normalizer.transform(image)
        assert normalizer.fell_back.all() and result.shape == image.shape and result.dtype == np.uint8
        equal(result, normalizer.transform(image, source=normalizer.target))
        assert image.min() < 253 or result.min() >= 250, "white stays white"


@pytest.mark.parametrize(("darkest", "noise"), [(0, 0), (16, 2)])
@given(colour=st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=40)
def test_a_single_colour_falls_back(darkest: int, noise: int, colour: tuple[int, ...]) -> None:
    check_fallback(flat(tuple(max(darkest, channel) for channel in colour), noise))


@pytest.mark.parametrize("shows", DEGENERATE)
@given(height=st.integers(1, 30), width=st.integers(1, 33))
@example(height=1, width=1)
@settings(max_examples=5)
def test_degenerate_and_tiny_tiles_fall_back(shows: str, height: int, width: int) -> None:
    check_fallback(DEGENERATE[shows])
    check_fallback(tissue(3)[:height, :width])


@every_method
@pytest.mark.parametrize("ink", ["green", "black"])
def test_ink_over_a_fifth_hides_no_stains(name: str, ink: str) -> None:
    for image in (tissue(1), DRAWN):
        inked = np.where(np.arange(SIDE)[:, None, None] < SIDE // 5, flat(INKS[ink], 6), image)
        plain, style = fitted(name).estimate(image).style, fitted(name).estimate(inked)
        assert style.found
        if name == "reinhard":
            np.testing.assert_allclose(style.style.mean, plain.mean, atol=2)
        else:
            assert ((style.style.matrix * plain.matrix).sum(axis=1) > np.cos(np.radians(1))).all()


@pytest.mark.parametrize("name", METHODS[:2])
@pytest.mark.parametrize(("covered", "darker"), [(0.5, 2), (1, 15)])
def test_a_bit_of_tissue_on_glass(name: str, covered: float, darker: float) -> None:
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(244, 3, (256, 256, 3)), 0, 255).astype(np.uint8)
    order = rng.random((256, 256, 1))
    full, tile = (np.where(order < part, tissue(5, side=256), glass) for part in (covered, 0.05))
    kept = order[..., 0] < 0.05
    result = fitted(name).transform(tile)
    assert not fitted(name).fell_back and result[~kept].mean() >= 240
    reference = fitted(name).transform(tile, source=fitted(name).estimate(full).style)
    assert result[kept].mean() >= reference[kept].mean() - darker


@every_method
def test_normalize_is_transform_with_finite_gradients_on_any_number_of_devices(name: str) -> None:
    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiling takes longest
    @partial(jax.grad, has_aux=True)
    def run(images: jax.Array) -> tuple:
        result = fitted(name).normalize(images)
        return (result.images**2).mean(), result

    gradient, result = run(BATCH)
    assert np.isfinite(gradient).all() and jnp.abs(gradient[0]).max() > 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
    expected = fitted(name).transform(np.uint8(BATCH))
    assert np.abs(np.rint(result.images) - expected).max() <= 1 and difference(result.images, expected) < 0.3
    assert (~result.found).tolist() == fitted(name).fell_back.tolist() == [False] + [True] * 7
    shared = jax.jit(fitted(name).normalize)(jax.device_put(BATCH, BY_DEVICE))
    assert len(shared.images.sharding.device_set) == 8
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=0.01), shared, result)


def test_identity_changes_nothing() -> None:
    normalizer, image = from_dict(NORMALIZERS["identity"]().to_dict()), tissue(0)
    equal(normalizer.fit(WHITE).transform(image), image)
    equal(normalizer.normalize(jnp.asarray(image)).images, image)


@every_method
def test_json_keeps_the_target_and_bad_ones_are_named(name: str) -> None:
    good = json.loads(json.dumps({**fitted(name).to_dict(), "note": "mine"}))
    equal(from_dict(good).transform(tissue(1)), fitted(name).transform(tissue(1)))
    last = "std" if name == "reinhard" else "max_concentrations"
    ends = [[*good[last][:-1], end] for end in (float("nan"), float("inf"), None, "x", 0, -1)]
    bad = [(last, value) for value in (None, "x", [1.0], {}, *ends)]
    if name != "reinhard":
        bad += [("matrix", 2 * STAINS), ("matrix", [[-0.6, 0, 0.8], [0, 0.6, 0.8]])]
    bad += [("method", value) for value in ("none", None, [name])]
    for key, value in bad:
        with pytest.raises(UserError, match=f"{key}|unknown .* known are vahadane, macenko, reinhard"):
            from_dict({**good, key: value})
    with pytest.raises(UserError, match=last):
        from_dict({key: value for key, value in good.items() if key != last})


@every_method
def test_bad_targets_and_images_are_named(name: str) -> None:
    for blank in (WHITE, np.zeros((0, 3), np.uint8), [], [WHITE[:5], tissue(0)[:9]]):
        with pytest.raises(DataError, match=f"target of {name}.* Choose an image of well-stained tissue"):
            NORMALIZERS[name]().fit(blank)
    with pytest.raises(UserError, match=r"call fit\(target\) first"):
        NORMALIZERS[name]().transform(WHITE)
    for bad, named in ((WHITE / 255, r"float64 \[64, 64, 3\]"), (WHITE[..., 0], r"uint8 \[64, 64\]")):
        for call in (fitted(name).fit, fitted(name).estimate, fitted(name).transform):
            with pytest.raises(ValueError, match=f"must be uint8 .* got {named}"):
                call(bad)
    with pytest.raises(ValueError, match=r"uint8 \[\.\.\., H, W, 3\] RGB, got uint8 \[64, 3\]"):
        fitted(name).transform(WHITE[0])


def test_augmentation() -> None:
    @jax.jit
    def run(images: jax.Array, seed: int = 0, scale: float = 0.2, shift: float = 0.1) -> jax.Array:
        return augment(images, jax.random.key(seed), jnp.float32(STAINS), scale=scale, shift=shift)

    images = jnp.maximum(BATCH.at[5:].set(BATCH[0]), 1.0)  # black counts as 1
    np.testing.assert_allclose(run(images, scale=0.0, shift=0.0), images, atol=0.01)
    first = run(images)
    equal(run(images), first)
    assert difference(run(images, seed=1), first) > 1
    assert difference(first[5], first[6]) > 1 and difference(first[6], first[7]) > 1
    strong = run(BATCH, scale=1.0, shift=2.0)
    assert strong.min() >= 0 and strong.max() <= 255
    split = run(jax.device_put(images, BY_DEVICE))
    assert len(split.sharding.device_set) == 8
    np.testing.assert_allclose(split, first, rtol=1e-5)
    assert np.isfinite(jax.jit(jax.grad(lambda x: run(x).mean()))(BATCH)).all()


def test_augmentation_of_what_the_stains_do_not_explain() -> None:
    """Of a colour that is all residual: its density times one number in 1 ± ½; a mixture of stains stays."""
    stains = jnp.float32(STAINS)
    mixed = jnp.exp(-(0.5 * stains[0] + 0.8 * stains[1])) * 255.0
    across = jnp.cross(stains[0], stains[1])
    pixel = jnp.exp(-jnp.abs(across) * 0.5) * 255.0
    for colour, moves in ((mixed, False), (pixel, True)):
        images = jnp.broadcast_to(colour, (16, 4, 4, 3))
        found = augment(images, jax.random.key(3), stains, scale=0.0, shift=0.0, residual=0.5)
        changed = np.abs(np.asarray(found - images)).max((1, 2, 3))
        assert (changed.max() > 3) == moves and (changed.min() < 1)
        assert np.ptp(np.asarray(found), axis=(1, 2)).max() < 1e-3  # one number an image
