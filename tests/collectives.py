"""What devices tell each other in a training step, counted in the compiled program.

python -m tests.collectives DEVICES NETWORK …: as JSON, in a process that simulates so many devices.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.collectives import Message, messages


def counted(devices: int, network: str, stain: str | None = None) -> dict[str, Any]:
    """The step of a narrow network, compiled in a process of so many simulated devices.

    Returns:
      `values`: how many a step adds up over the devices; `norms`: channels of each batch norm; `messages`: of
      Message.
    """
    command = [sys.executable, "-m", "tests.collectives", str(devices), network]
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    result = subprocess.run(
        [*command, *(["--stain", stain] if stain else [])],
        env=environment,
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(result.stdout)
    found["messages"] = [
        Message(kind, tuple(sizes), in_loop, of) for kind, sizes, in_loop, of in found["messages"]
    ]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("devices", type=int)
    parser.add_argument("network")
    parser.add_argument("--stain")
    parser.add_argument("--side", type=int, default=32)
    args = parser.parse_args(argv)
    import jax
    from flax import nnx

    from nucseg_jax import devices
    from nucseg_jax.devices import mesh as meshes
    from nucseg_jax.models import count_parameters, design_model
    from nucseg_jax.models.layers import ConvOfUpsampled
    from nucseg_jax.training.step import compile_step
    from tests.abstract_programs import config_of, programs
    from tests.networks import QUICK

    # The program for accelerators, which CPUs run, too: theirs would sum the gradients of kernels by phase.
    meshes.traced_for = lambda platform: devices.traced_for("tpu")  # type: ignore[assignment]
    mesh = devices.make_mesh()
    assert mesh.devices.size == args.devices
    config = config_of(args.network, side=args.side, stain=args.stain)
    step, (state, batch) = programs(config, rows=args.devices)["training"]

    def placed(tree: Any, sharding: jax.sharding.NamedSharding) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    arguments = placed(state, devices.replicated(mesh)), placed(batch, devices.split(mesh))
    options = devices.compiler_options(mesh) | QUICK
    compiled = compile_step(mesh, step).lower(*arguments).compile(compiler_options=options)
    # Convolutions of upsampled images have kernels of four phases, 16 taps for 9: their gradients are summed.
    model, _ = design_model(args.network, width=config.model.width, rngs=nnx.Rngs(params=0, dropout=0))
    phased = [
        module.kernel.size for _, module in nnx.iter_modules(model) if isinstance(module, ConvOfUpsampled)
    ]
    norms = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.batch_stats)
        if "mean" in jax.tree_util.keystr(path)
    ]
    found = {
        # Mean, its square and variance of each channel; the gradients; the loss.
        "values": 3 * sum(norms) + count_parameters(state.params) + 7 * sum(phased) // 9 + 1,
        "norms": norms,
        "messages": messages(compiled.as_text()),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
