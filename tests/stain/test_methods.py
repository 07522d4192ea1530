"""The parts of stain normalisation against NumPy, SciPy and skimage, and their gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls
from skimage.color import rgb2lab

from nucseg_jax.stain import NORMALIZERS, extraction, lab
from nucseg_jax.stain.extraction import extract, macenko, vahadane
from nucseg_jax.stain.normalization import METHODS, normalize
from nucseg_jax.stain.optical_density import optical_density, transmitted
from nucseg_jax.stain.percentile import percentile, percentiles
from nucseg_jax.stain.separation import concentrations, mixture

SIDE = 64


def unit(rows: np.ndarray | list) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


STAINS = unit([[0.56, 0.73, 0.40], [0.20, 0.84, 0.50]])
OTHER_STAINS = unit([[0.65, 0.70, 0.29], [0.10, 0.95, 0.28]])


def tissue(seed: int, matrix: np.ndarray = STAINS) -> np.ndarray:
    """Two stains over 70 % of the pixels each, so 42 % have one alone and 9 % none: uint8 [64, 64, 3]."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.4, (SIDE, SIDE, 2)) * (rng.random((SIDE, SIDE, 2)) < 0.7)
    return np.rint(255 * np.exp(-amounts @ matrix)).astype(np.uint8)


def densities(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Optical density [3, N], and 1 where a pixel is stained: [N]."""
    density = np.maximum(-np.log(np.maximum(image.reshape(-1, 3).T, 1) / 255), 1e-6)
    return density, (density.sum(axis=0) > 0.45).astype(float)


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Between the rows of two matrices."""
    return np.degrees(np.arccos(np.clip((unit(a) * unit(b)).sum(axis=1), -1, 1)))


# --- percentiles -----------------------------------------------------------------------------

FLOATS = st.floats(-1e4, 1e4, width=32, allow_subnormal=False) | st.sampled_from([-2.0, -0.0, 0.0, 1.0, 3.0])
of_any = jax.jit(percentile)


@given(arrays(np.float32, 24, elements=FLOATS), arrays(bool, 24), st.integers(0, 100))
@example(np.full(24, 3, np.float32), np.ones(24, bool), 99)
@example(np.arange(-24, 0, dtype=np.float32), np.arange(24) == 5, 50)  # one
@example(np.arange(24, dtype=np.float32), np.zeros(24, bool), 99)  # none
def test_percentile_is_numpys(values: np.ndarray, included: np.ndarray, percent: int) -> None:
    result = of_any(values, included, percent)
    assert result.dtype == np.float32
    if not included.any():
        assert result == 0
        return
    chosen = values[included].astype(np.float64)
    expected = np.percentile(chosen, percent)
    if percent * (len(chosen) - 1) % 100 == 0:
        assert result == expected
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-7 * np.abs(chosen).max() + 1e-37)


@pytest.mark.parametrize("count", [1, 2, 65536])
@pytest.mark.parametrize("percent", [0, 1, 50, 97, 99, 100])
def test_percentile_of_few_and_many(count: int, percent: int) -> None:
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    result = of_any(values, np.ones(count, bool), percent)
    np.testing.assert_allclose(result, np.percentile(values.astype(float), percent), rtol=0, atol=1e-6)


def test_percentiles_are_those_of_the_rows_and_of_float64() -> None:
    rows = np.random.default_rng(0).gamma(2, 0.4, (3, 500))
    included = np.arange(500) % 3 > 0
    with jax.enable_x64(True):
        result = jax.jit(percentiles)(rows, included, 97)
        np.testing.assert_allclose(result, np.percentile(rows[:, included], 97, axis=1), rtol=1e-14)


def test_the_gradient_of_a_percentile_goes_to_its_neighbours_and_is_shared_by_ties() -> None:
    values = jnp.array([5.0, 1.0, 2.0, 2.0, 9.0, 4.0])
    included = jnp.array([True, True, True, True, False, True])
    gradient = jax.jit(jax.grad(percentile))
    # In order: 1 2 2 4 5. A tenth of the way is 40 % from 1 to 2; nine tenths is 60 % from 4 to 5.
    np.testing.assert_allclose(gradient(values, included, 10), [0, 0.6, 0.2, 0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(gradient(values, included, 90), [0.6, 0, 0, 0, 0, 0.4], atol=1e-6)
    assert not gradient(values, jnp.zeros(6, bool), 99).any()


# --- separation ------------------------------------------------------------------------------


def random_matrix(rng: np.random.Generator, least: float) -> np.ndarray:
    """Two unit rows at least 5° apart, of coordinates from `least` to 1."""
    while True:
        matrix = unit(rng.uniform(least, 1, (2, 3)))
        if degrees(matrix[:1], matrix[1:])[0] >= 5:
            return matrix


def lasso(density: np.ndarray, matrix: np.ndarray, sparsity: float) -> np.ndarray:
    """min ½‖x − Sᵀc‖² + sparsity (c₁ + c₂) over c ≥ 0: non-negative least squares, the square completed."""
    root = np.linalg.cholesky(matrix @ matrix.T)
    right = np.linalg.solve(root, matrix @ density - sparsity)
    return np.stack([nnls(root.T, x)[0] for x in right.T], axis=1)


separate = jax.jit(concentrations)


@pytest.mark.parametrize("least", [0, -0.3])
@pytest.mark.parametrize("sparsity", [0, 0.01, 0.1])
def test_concentrations_solve_the_non_negative_lasso(sparsity: float, least: float) -> None:
    rng, kinds = np.random.default_rng(1), np.zeros(4, int)
    for _ in range(10):
        matrix, density = random_matrix(rng, least), rng.gamma(0.5, 0.6, (3, 60))
        density[:, :3] = 1e-6, 1e-3, 5
        expected = lasso(density, matrix, sparsity)
        single = separate(jnp.float32(density), jnp.float32(matrix), sparsity)
        with jax.enable_x64(True):
            np.testing.assert_allclose(separate(density, matrix, sparsity), expected, atol=1e-9)
        np.testing.assert_allclose(single, expected, atol=2e-3)
        kinds += np.bincount((expected > 0).T @ [1, 2], minlength=4)
    assert (kinds[1:] > 20).all() and (kinds[0] > 10 or sparsity == 0), "none, one, the other and both occur"


def test_light_and_density_are_inverse() -> None:
    grey = jnp.arange(1.0, 256.0)
    np.testing.assert_allclose(transmitted(optical_density(grey)), grey, rtol=1e-5)
    assert optical_density(jnp.zeros(())) == optical_density(jnp.ones(()))
    amounts = np.random.default_rng(0).random((2, 5), np.float32)
    np.testing.assert_allclose(mixture(amounts, jnp.float32(STAINS)), STAINS.T @ amounts, rtol=1e-5)


# --- extraction ------------------------------------------------------------------------------


def objective(density: np.ndarray, weight: np.ndarray, matrix: np.ndarray) -> float:
    """Vahadane's, at the best concentrations: the mean of ½‖x − Sᵀc‖² + 0.1 (c₁ + c₂) over the stained."""
    amounts = np.float64(separate(jnp.float32(density), jnp.float32(matrix), 0.1))
    each = 0.5 * ((density - matrix.T @ amounts) ** 2).sum(axis=0) + 0.1 * amounts.sum(axis=0)
    return float((each * weight).sum() / weight.sum())


run = jax.jit(extract, static_argnums=2)
both_stains = pytest.mark.parametrize("matrix", [STAINS, OTHER_STAINS], ids=["nearer", "farther"])


@both_stains
def test_vahadane_is_a_point_of_rest_no_worse_than_spams(matrix: np.ndarray) -> None:
    density, weight = densities(tissue(0, matrix))
    found = np.float64(run(jnp.float32(density), weight > 0, vahadane).matrix)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    assert (found >= 0).all()
    least = objective(density, weight, found)
    rng = np.random.default_rng(1)
    for size in np.repeat([0.003, 0.01, 0.03, 0.1], 10):
        other = unit(np.maximum(found + size * rng.normal(size=(2, 3)), 0))
        assert least <= objective(density, weight, other) + 1e-8
    spams = pytest.importorskip("spams")
    pixels = np.asfortranarray(density[:, weight > 0])
    options = dict(K=2, lambda1=0.1, mode=2, modeD=0, posAlpha=True, posD=True, verbose=False, numThreads=1)
    atoms = unit(spams.trainDL(X=pixels, iter=500, **options).T)
    assert least <= objective(density, weight, atoms) + 1e-8


def plain_macenko(density: np.ndarray) -> np.ndarray:
    vectors = np.linalg.eigh(np.cov(density))[1][:, [2, 1]]
    vectors *= np.where(vectors[0] < 0, -1, 1)
    angles = np.arctan2(*(vectors.T @ density)[::-1])
    rows = np.stack([vectors @ [np.cos(a), np.sin(a)] for a in np.percentile(angles, [1, 99])])
    return rows[np.argsort(-rows[:, 0])]


@both_stains
def test_macenko_is_the_plain_one(matrix: np.ndarray) -> None:
    density, weight = densities(tissue(3, matrix))
    found = run(jnp.float32(density), weight > 0, macenko).matrix
    assert degrees(found, plain_macenko(density[:, weight > 0])).max() < 0.02


@both_stains
@pytest.mark.parametrize(("method", "within"), [(vahadane, 3.5), (macenko, 0.5)])
def test_known_stains_are_recovered_hematoxylin_first(method, within: float, matrix: np.ndarray) -> None:
    """Vahadane's are nearer together than the truth: its L1 term rewards it."""
    for seed, order in ((4, matrix), (5, matrix[::-1])):
        density, weight = densities(tissue(seed, order))
        result = run(jnp.float32(density), weight > 0, method)
        assert result.found
        assert degrees(result.matrix, matrix).max() < within


@pytest.mark.parametrize("order", [1, -1])
def test_hematoxylin_is_first_whatever_the_methods_order(order: int) -> None:
    density, weight = densities(tissue(0))
    result = run(jnp.float32(density), weight > 0, lambda *_: jnp.float32(STAINS[::order]))
    assert result.found
    np.testing.assert_array_equal(result.matrix, np.float32(STAINS))


# --- Lab and gradients -----------------------------------------------------------------------


def test_lab_is_that_of_skimage_and_comes_back() -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    planes = jnp.float32(colours.T)
    result = jax.jit(lab.to_lab)(planes)
    np.testing.assert_allclose(result.T, rgb2lab(colours), atol=0.02)
    np.testing.assert_allclose(jax.jit(lab.lightness)(planes), result[0], atol=1e-4)
    np.testing.assert_allclose(jax.jit(lab.from_lab)(result), planes, atol=0.05)
    gradient = jax.jit(jax.grad(lambda x: lab.from_lab(lab.to_lab(x)).sum()))(planes)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["vahadane", "macenko", "reinhard"])
def test_gradients_are_finite_differences(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = NORMALIZERS[name]().fit(tissue(7)).target
    # Differences need atoms at rest to more digits than images do.
    monkeypatch.setattr(extraction, "_AT_REST", 1e-13)
    monkeypatch.setattr(extraction, "_MOST_ROUNDS", 3000)
    rng = np.random.default_rng(2)
    # Not whole numbers: where pixels tie for a percentile, it has a kink. Not white: there results are cut.
    image = np.clip(tissue(6, OTHER_STAINS) + rng.uniform(-0.5, 0.5, (SIDE, SIDE, 3)), 1, 254)
    weight = rng.normal(size=image.shape)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiling takes longest
    @partial(jax.value_and_grad, has_aux=True)
    def run(image: jax.Array) -> tuple[jax.Array, jax.Array]:
        result = normalize(METHODS[name], image, target)
        return (result.images * weight).mean() + ((result.images / 255) ** 2).mean(), result.found

    with jax.enable_x64(True):
        (value, found), gradient = run(image)
        assert found and value.dtype == gradient.dtype == np.float64
        for direction in (rng.normal(size=image.shape), rng.normal(size=image.shape), np.ones(image.shape)):
            step = 2e-5 * direction
            difference = (run(image + step)[0][0] - run(image - step)[0][0]) / 2
            np.testing.assert_allclose((np.asarray(gradient) * step).sum(), difference, rtol=2e-5)
