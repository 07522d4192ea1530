"""What each device computes of its own rows alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from benchmarks.collectives import messages
from nucseg_jax import devices
from nucseg_jax.models.network import InputFormat, network_input
from nucseg_jax.stain import NORMALIZERS
from tests.recolour.stained_images import BLUER, REDDER, WHITE, tissue


@pytest.mark.parametrize(
    "method",
    [
        "vahadane",
        pytest.param("macenko", marks=pytest.mark.slow),
        pytest.param("reinhard", marks=pytest.mark.slow),
    ],
)
def test_stains_are_normalised_by_each_device_as_by_one(method: str, one_device: Mesh) -> None:
    """Without a message, also where images take other numbers of rounds, or show no stain."""
    normalizer = NORMALIZERS[method]().fit(tissue(0))
    images = np.stack([*(tissue(1 + i, BLUER if i % 2 else REDDER) for i in range(7)), WHITE])
    results = []
    for mesh in (one_device, devices.make_mesh()):
        batch = devices.split_batch(mesh, images)
        step = devices.jit(mesh, lambda x: network_input(x, InputFormat(stain=normalizer)))
        compiled = step.lower(batch).compile()
        assert not any(message.in_loop for message in messages(compiled.as_text()))
        results.append(compiled(batch))
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1.5 / 255)
    assert float(jnp.abs(results[0] - images / 255.0).max()) > 0.1


def test_rows_that_devices_cannot_share_in_equal_parts_are_everybodys() -> None:
    mesh, rows = devices.make_mesh(), np.arange(12.0).reshape(12, 1)
    seen = []

    def doubled(x: jax.Array) -> jax.Array:
        seen.append((x.shape, devices.sharing(x.shape[0])))
        return 2 * x

    result = devices.jit(mesh, lambda x: devices.by_device(doubled, x))(devices.replicate(mesh, rows))
    np.testing.assert_array_equal(result, 2 * rows)
    assert seen == [((12, 1), 1)]


def test_outside_of_a_mesh_a_batch_is_one() -> None:
    assert devices.sharing(8) == 1
    np.testing.assert_array_equal(devices.by_device(lambda x: x + 1, jnp.zeros((8, 1))), 1)
