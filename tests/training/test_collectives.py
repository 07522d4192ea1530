"""What devices tell each other in a training step: how often, and how many bytes.

A batch norm layer takes a message on the way forward (its moments) and one on the way back, which has the
gradients of its scale and bias, too. All other gradients go together, after the last one. (FC-DenseNet sends
less: it takes the moments of a feature once for all layers that see it.)
"""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.collectives import messages
from nucseg_jax import devices
from tests.collectives import counted

FLOAT = 4  # bytes
BUCKETS = 3
"""Messages that the other gradients may take: XLA on CPUs sends those of the last layers ahead."""


@pytest.mark.parametrize(
    ("count", "network", "stain"),
    [
        (8, "fcn32", "vahadane"),
        pytest.param(8, "psp_segnet", None, marks=pytest.mark.slow),
        pytest.param(8, "efficient_unet_half", None, marks=pytest.mark.slow),
        pytest.param(64, "fcn32", "macenko", marks=pytest.mark.slow),
        pytest.param(64, "unet", None, marks=pytest.mark.slow),
    ],
)
def test_messages_of_a_training_step(count: int, network: str, stain: str | None) -> None:
    """Stains that are normalised in the network take none, however many rounds that needs."""
    found = counted(count, network, stain)
    sent, norms = found["messages"], found["norms"]
    assert {message.kind for message in sent} == {"all-reduce"}
    assert not any(message.in_loop for message in sent)
    assert len(sent) <= 2 * len(norms) + BUCKETS
    assert sum(sum(message.sizes) for message in sent) == FLOAT * found["values"]
    forward = [message for message in sent if "jvp(jit(_moments))" in message.of]
    # Of layers that do not wait for each other some go together.
    assert sorted(size for message in forward for size in message.sizes) == sorted(
        FLOAT * 3 * c for c in norms
    )


def test_a_loop_of_the_compilers_own_sends_a_message_a_round_and_by_device_none() -> None:
    """So that the test above would see it."""
    mesh = devices.make_mesh()

    def halved(rows: jax.Array) -> jax.Array:
        return jax.vmap(lambda x: jax.lax.while_loop(lambda y: (y > 1).any(), lambda y: y / 2, x))(rows)

    rows = jax.device_put(jnp.arange(1.0, 33.0).reshape(16, 2), devices.split(mesh))
    results = []
    for function, times in ((halved, 1), (lambda rows: devices.by_device(halved, rows), 0)):
        compiled = devices.jit(mesh, function).lower(rows).compile()
        assert sum(message.in_loop for message in messages(compiled.as_text())) >= times
        assert any(message.in_loop for message in messages(compiled.as_text())) == bool(times)
        results.append(compiled(rows))
    assert jnp.array_equal(*results) and float(results[0].max()) <= 1
