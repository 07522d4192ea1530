"""What a device holds and sends where several share a training's state: `config.shard`.

python -m benchmarks.sharding [NETWORK …]: the table of docs/scaling.md

Steps of full networks are compiled for eight simulated devices, and not run: memory is what XLA has planned
for one of the devices, bytes are those of the messages in the compiled program.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from benchmarks.collectives import messages
from nucseg_jax import config as settings
from nucseg_jax import devices
from nucseg_jax.config.names import SHARDS
from nucseg_jax.models import design_model
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.training import train
from nucseg_jax.training.sharding import Sharding
from nucseg_jax.training.step import Given, compile_step, state_shapes

NETWORKS = ("unet", "psp_segnet")
DEVICES = 8
SIZE = 512
IMAGES = 2
"""A device, as in the paper."""


class Plan(NamedTuple):
    """A compiled step.

    Attributes:
      state_bytes: weights, statistics and the optimizer's state, as far as a device holds them.
      step_bytes: all that a device needs at once, these included.
      sent: bytes of the arrays that messages put together, by the message's kind.
    """

    state_bytes: int
    step_bytes: int
    sent: dict[str, int]


def plan_of(name: str, shard: str, mesh: Mesh, *, width: float = 1.0, size: int = SIZE) -> Plan:
    """Compile a step of the paper's training.

    Args:
      name: of the network.
      shard: of `config.shard`.
      mesh: of the devices.
      width: of the network.
      size: side of the patches in pixels.
    """
    config = settings.get_config()
    config.model.name, config.model.width, config.data.crop_size, config.shard = name, width, size, shard
    model, _ = design_model(name, width=width, rngs=nnx.Rngs(params=0, dropout=0))
    network, *weights = split_network(model)
    optimizer = train.make_optimizer(config)
    given: Any = Given(jax.ShapeDtypeStruct((1,), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.uint32))
    shapes = state_shapes(mesh, Weights(*weights), optimizer, given, sharding=Sharding.of(shard))
    rows = IMAGES * mesh.devices.size
    batch = {
        "image": jax.ShapeDtypeStruct((rows, size, size, 3), jnp.uint8, sharding=devices.split(mesh)),
        "label_map": jax.ShapeDtypeStruct((rows, size, size), jnp.int32, sharding=devices.split(mesh)),
    }
    step = compile_step(mesh, train.make_step(config, network, optimizer), shapes)
    compiled = step.lower(shapes, batch).compile()
    planned: Any = compiled.memory_analysis()
    sent: dict[str, int] = {}
    for message in messages(compiled.as_text() or ""):
        sent[message.kind] = sent.get(message.kind, 0) + sum(message.sizes)
    return Plan(
        devices.bytes_on_device(shapes),
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        - planned.alias_size_in_bytes
        + planned.temp_size_in_bytes,
        sent,
    )


def table(networks: Sequence[str], mesh: Mesh, *, width: float = 1.0, size: int = SIZE) -> str:
    """Markdown: a row for each network and setting, in MB. The arguments are those of `plan_of`."""
    lines = [
        "| network | `shard` | state, MB | step, MB | all-reduce, MB | all-gather, MB |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in networks:
        for shard in SHARDS:
            plan = plan_of(name, shard, mesh, width=width, size=size)
            unknown = plan.sent.keys() - {"all-reduce", "all-gather"}
            assert not unknown, unknown
            sizes = (
                plan.state_bytes,
                plan.step_bytes,
                plan.sent.get("all-reduce", 0),
                plan.sent.get("all-gather", 0),
            )
            cells = [f"`{name}`", f"`{shard}`", *(f"{x / 1e6:,.0f}" for x in sizes)]
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    networks = parser.parse_args(argv).networks
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_platforms", "cpu")
    print("\n" + table(networks, devices.make_mesh()))


if __name__ == "__main__":
    main()
