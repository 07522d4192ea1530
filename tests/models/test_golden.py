"""The networks against logits that PyTorch computed once, from tests/golden; PyTorch is not needed."""

import random
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from nucseg_jax.torch_bridge import load_state_dict
from nucseg_jax.torch_bridge.parameter_names import PUBLISHED
from tests.networks import QUICK, all_logits, by_weight, empty_network

GOLDEN = Path(__file__).parents[1] / "golden"


def agree(name: str, found: dict[str, jax.Array], expected: dict[str, np.ndarray]) -> bool:
    """Whether all logits are PyTorch's within 1e-5 of their range, as far as rounding lets them be."""
    errors = {
        branch: np.abs(np.asarray(found[branch])[0] - logits) / np.ptp(logits)
        for branch, logits in expected.items()
    }
    if name == "segnet":
        # Where the two largest values of a window differ by less than rounding, the frameworks may
        # remember different positions, and all that lies around the unpooled value changes.
        (error,) = errors.values()
        return bool(np.median(error) < 1e-5 and (error.max(-1) > 1e-4).mean() < 0.02)
    return all(error.max() < 1e-5 for error in errors.values())


@pytest.mark.parametrize("name", by_weight(published.name for published in PUBLISHED))
def test_logits_are_pytorchs_and_every_tensor_counts(name: str) -> None:
    """Equal with the stored weights, unequal with any one tensor shifted; one compilation for both."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        stored = dict(file)
    weights, expected = (
        {key.removeprefix(part): array for key, array in stored.items() if key.startswith(part)}
        for part in ("state_dict/", "logits/")
    )
    image = stored["image"][None] / np.float32(255)
    model = empty_network(name, width=float(stored["width"]))
    model.eval()
    graph, _, rest = nnx.split(model, nnx.Any(nnx.Param, nnx.BatchStat), ...)

    @jax.jit(compiler_options=QUICK)
    def forward(loaded: nnx.State) -> dict[str, jax.Array]:
        return all_logits(nnx.merge(graph, loaded, rest), image)

    def logits(state_dict: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        load_state_dict(model, state_dict)
        return forward(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))

    found = logits(weights)
    assert found.keys() == expected.keys()
    assert agree(name, found, expected)
    for key in random.Random(0).sample(sorted(weights), 8):
        shifted = weights[key] + np.abs(weights[key]).max()
        assert not agree(name, logits(weights | {key: shifted}), expected), key
