"""The Flax networks' gradients in training are the PyTorch networks', dropout off."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")
from nucseg_jax.torch_bridge import (  # noqa: E402
    load_state_dict,
    state_arrays,
)
from nucseg_jax.training.losses import cross_entropy  # noqa: E402
from tests.networks import (  # noqa: E402
    QUICK,
    all_logits,
    empty_network,
)
from tests.parity.pairs import (  # noqa: E402
    PUBLISHED,
    as_flax,
    flax_network,
    report,
    torch_network,
)

WIDTH = 1 / 8
SIZE = (64, 96)
BATCH = 2
DRAWS = 8

Gradients = Mapping[str, np.ndarray]

# Biases of which every use passes through a batch norm, which takes them out again: their gradient is zero.
WITHOUT_EFFECT = {
    "fcn8": "(?!)",  # none: a ReLU comes between
    # Not those that reach a transposed convolution or the classifier.
    "fc_densenet": r"denseBlocksDown\.[1-4]\..*conv\.bias|transDownBlocks\.\d\.conv\.bias"
    r"|transUpBlocks\.[0-3]\.convTrans\.bias",
    "unet": r"(C|Up_c)onv\d\.conv\.[03]\.bias|Up\d\.up\.1\.bias",
    "segnet": r"(en|de)coders\.\d\.features\.[03]\.bias",
    "psp_segnet": r"upsample\d\.conv1\.bias|fs\d\.conv\.bias",
    "self_correction": "(?!)",  # none: these convolutions have no bias
    # Where only 1×1 convolutions and batch norms follow, up to the next features that the decoder takes.
    "efficient_unet": r"encoder\._blocks\.([567]|1[1-4])\._bn2\.bias",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_float32(name: str) -> None:
    """In one of several draws of weights and images every tensor agrees to a thousandth.

    A draw in which rounding moves one value across a ReLU's zero, or makes another one the maximum of its
    pooling window, tells nothing: there PyTorch's own float32 gradient may be as far, 1e-3 to 3e-2, from
    its float64 one, and so may the same Flax network from itself, compiled otherwise. Of the U-Net, SegNet
    and FC-DenseNet about every third draw is such; a wrong gradient is wrong in all.
    """
    model = empty_network(name, width=WIDTH)
    gradients = gradients_of(model)
    for draw in range(DRAWS):
        torch.manual_seed(draw)
        network = torch_network(name, width=WIDTH, size=SIZE, calm=True)
        images = torch.rand(BATCH, 3, *SIZE)
        load_state_dict(model, network.state_dict())
        found = gradients(as_flax(images))
        expected = torch_gradients(network, images)
        exact = torch_gradients(network.double(), images.double())
        worst, without_effect = errors(name, found, expected)
        figures = {
            "worst": worst,
            "without effect": without_effect,
            "from PyTorch's float64": errors(name, found, exact)[0],
            "PyTorch's float32 from its float64": errors(name, expected, exact)[0],
        }
        report(f"{name}, float32, draw {draw}", figures)
        assert without_effect <= 1e-5
        if worst <= 1e-3:
            return
    pytest.fail(f"{name}: gradients differ in each of {DRAWS} draws")


@pytest.mark.parametrize("name", PUBLISHED)
def test_float64(name: str) -> None:
    """Where nothing rounds to another side; the ResNets with residual branches at full strength."""
    network = torch_network(name, width=WIDTH, size=SIZE).double()
    images = torch.rand(BATCH, 3, *SIZE, dtype=torch.float64)
    with jax.enable_x64(True):
        model = flax_network(network, name, width=WIDTH, dtype=jnp.float64)
        found = gradients_of(model)(as_flax(images))
    expected = torch_gradients(network, images)
    worst, without_effect = errors(name, found, expected)
    report(f"{name}, float64", {"worst": worst, "without effect": without_effect})
    assert worst <= 1e-9 and without_effect <= 1e-12
    total = norm(expected.values())
    for key, gradient in expected.items():
        assert (norm([gradient]) <= 1e-12 * total) == has_no_effect(name, key), key


def torch_gradients(network: torch.nn.Module, images: torch.Tensor) -> Gradients:
    """Those of the summed cross-entropy of all branches, so that every parameter has one."""
    for module in network.train().modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    labels = torch.from_numpy(blobs()).long()
    losses = [torch.nn.functional.cross_entropy(y, labels) for y in all_logits(network, images).values()]
    network.zero_grad()
    sum(losses).backward()
    return {key: parameter.grad.numpy() for key, parameter in network.named_parameters()}


def gradients_of(model: nnx.Module) -> Callable[[np.ndarray], Gradients]:
    """images [B,H,W,3] → the same of a Flax network, with PyTorch's names and layout.

    The network's weights may change between calls, which share one compilation.
    """
    model.train()
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.Dropout):
            module.deterministic = True
    graph = nnx.graphdef(model)

    @partial(jax.jit, compiler_options=QUICK)
    @jax.grad
    def gradient(params: nnx.State, rest: nnx.State, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = all_logits(nnx.merge(graph, params, rest, copy=True), images)
        return sum(cross_entropy(y, labels) for y in logits.values())

    def gradients(images: np.ndarray) -> Gradients:
        _, params, rest = nnx.split(model, nnx.Param, ...)
        return state_arrays(nnx.merge(graph, gradient(params, rest, images, blobs()), rest))

    return gradients


def blobs() -> np.ndarray:
    """Smooth label maps int32[B,H,W]."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack(
        [np.sin(rows / 7 + i) + np.sin(columns / 9 + i) > 0.5 for i in range(BATCH)], dtype=np.int32
    )


def errors(name: str, found: Gradients, expected: Gradients) -> tuple[float, float]:
    """The largest ‖Δg‖ / max(‖g‖, 1e-4 ‖all g‖) of a tensor, and ‖g‖ / ‖all g‖ of those without effect."""
    total = norm(expected.values())
    worst, without_effect = 0.0, 0.0
    for key, g in expected.items():
        assert np.isfinite(found[key]).all(), key
        if has_no_effect(name, key):
            without_effect = max(without_effect, norm([found[key]]) / total)
        else:
            worst = max(worst, norm([found[key] - g]) / max(norm([g]), 1e-4 * total))
    return worst, without_effect


def has_no_effect(name: str, key: str) -> bool:
    return re.fullmatch(WITHOUT_EFFECT[name], key) is not None


def norm(arrays: Iterable[np.ndarray]) -> float:
    return float(np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in arrays)))
