"""The Flax networks give the PyTorch networks' logits, at the published width."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")
from nucseg_jax.models import NETWORKS  # noqa: E402
from nucseg_jax.torch_bridge import (  # noqa: E402
    load_state_dict,
    state_arrays,
)
from nucseg_jax.torch_bridge.networks import create_torch_network  # noqa: E402
from tests.networks import (  # noqa: E402
    all_logits,
    empty_network,
)
from tests.parity.pairs import (  # noqa: E402
    PUBLISHED,
    WEIGHTS,
    as_flax,
    flax_network,
    relative_error,
    report,
    torch_network,
    torch_network_perturbed_last,
)

SIZE = (256, 192)
BAR = 1e-4
RECIPES = {
    "perturbed on the way": partial(torch_network, calm=True),
    "perturbed last": torch_network_perturbed_last,
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_logits(name: str, recipe: str) -> None:
    network = RECIPES[recipe](name, width=1.0, size=SIZE)
    images = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        expected = as_flax(all_logits(network, images))
    found = nnx.jit(all_logits)(flax_network(network, name, width=1.0), as_flax(images))
    for branch, logits in expected.items():
        error = relative_error(found[branch], logits)
        beyond = (error.max(-1) > BAR).mean()
        figures = {"max": error.max(), "median": np.median(error), f"beyond {BAR}": beyond}
        report(f"{name} {branch}, {recipe}", figures | {"range": np.ptp(logits)})
        if name == "segnet":
            # Two nearly equal values of a pooling window may change places: a few pixels differ by much.
            assert np.median(error) < 1e-5 and beyond < 0.02
        else:
            assert error.max() <= BAR


@pytest.mark.parametrize("name", ["segnet", "psp_segnet", "self_correction"])
def test_float64_logits(name: str) -> None:
    """What float32 compares by the median (segnet) or calmed (the ResNets), to the last digits."""
    network = torch_network(name, width=1.0, size=SIZE).double()
    images = torch.rand(1, 3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        expected = as_flax(all_logits(network, images))
    with jax.enable_x64(True):
        model = flax_network(network, name, width=1.0, dtype=jnp.float64)
        found = nnx.jit(all_logits)(model, as_flax(images))
    for branch, logits in expected.items():
        error = relative_error(found[branch], logits).max()
        report(f"{name} {branch}, float64", {"max": error, "range": np.ptp(logits)})
        assert found[branch].dtype == np.float64 and error <= 1e-10


@pytest.mark.parametrize("name", PUBLISHED)
def test_round_trip_is_bit_identical(name: str) -> None:
    model, again = (empty_network(name, width=1.0) for _ in range(2))
    random = np.random.default_rng(0)
    weights = jax.tree.map(
        lambda leaf: jnp.asarray(random.random(leaf.shape, np.float32)), nnx.state(model, WEIGHTS)
    )
    nnx.update(model, weights)
    with torch.device("meta"):
        network = create_torch_network(name)
    tensors = {key: torch.tensor(array) for key, array in state_arrays(model).items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    load_state_dict(again, network.state_dict())
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again, WEIGHTS), weights)
