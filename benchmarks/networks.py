"""What each network costs: parameters, FLOPs, memory and compilation of a training step, parity.

python -m benchmarks.networks [NETWORK …] [--out benchmarks/results/networks_cpu.json]

FLOPs: XLA's cost analysis of one forward pass before optimisation (a multiply-add is two), one 512×512 image.
Memory and compilation: the training step of `configs/default.py`, batch 2, 512×512, float32, on one device;
memory is XLA's plan for it: weights, optimizer and batch included. Parity: the largest difference between the
logits of Flax and PyTorch as a part of their range, on a 256×192 image, float32 on the CPU (needs PyTorch).
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh

from configs import default
from nucseg_jax import optim
from nucseg_jax.files import write_text
from nucseg_jax.models import NETWORKS, count_parameters, create_model
from nucseg_jax.models.functional import split_network
from nucseg_jax.train import TrainState, compile_step

SIZE = 512
BATCH = 2


def measure(name: str) -> dict[str, Any]:
    """All figures of one network."""
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(params=0, dropout=0)))
    network, params, batch_stats = split_network(model)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.uint8)
    forward = jax.jit(network.predict).lower(params, batch_stats, image)
    flops = (forward.cost_analysis() or {}).get("flops", float("nan"))

    config = default.get_config()
    optimizer = optim.sgd(config.optim, lambda step: jnp.asarray(0.1))
    mesh = Mesh(jax.devices()[:1], ("data",), axis_types=(AxisType.Auto,))
    step = jax.ShapeDtypeStruct((), jnp.int32)
    state: Any = TrainState(step, params, batch_stats, jax.eval_shape(optimizer.init, params))  # type: ignore[arg-type]
    batch = {
        "image": jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, 3), jnp.uint8),
        "label_map": jax.ShapeDtypeStruct((BATCH, SIZE, SIZE), jnp.int32),
    }
    lowered = compile_step(config, mesh, network, optimizer).lower(state, batch)  # type: ignore[attr-defined]
    start = time.perf_counter()
    plan = lowered.compile().memory_analysis()
    seconds = time.perf_counter() - start
    memory = (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )
    return {
        "network": name,
        "parameters": count_parameters(params),
        "gflops_forward": flops / 1e9,
        "step_memory_gb": memory / 1e9,
        "compile_seconds": seconds,
        "parity": parity(name),
    }


def parity(name: str) -> float | None:
    """max |Δlogits| / range of the logits, or None without PyTorch."""
    try:
        import torch

        from nucseg_jax.torch_bridge import load_state_dict
        from nucseg_jax.torch_bridge.calibration import calibrate, weaken_residuals
        from nucseg_jax.torch_bridge.networks import create_torch_network
    except ImportError:
        return None
    torch.manual_seed(0)
    network = create_torch_network(name)
    weaken_residuals(network)
    calibrate(network)
    model = create_model(name, rngs=nnx.Rngs(params=0, dropout=0))
    load_state_dict(model, network.state_dict())
    model.eval()
    image = np.random.default_rng(0).random((1, 256, 192, 3), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    logits = nnx.jit(lambda m, x: m(x))(model, jnp.asarray(image))
    return float(np.abs(logits - expected).max() / np.ptp(expected))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    device = jax.devices()[0]
    print(f"{device.platform} ({device.device_kind}), jax {jax.__version__}", flush=True)
    header = ("network", "parameters", "GFLOPs", "step memory", "compilation", "parity")
    print("| " + " | ".join(header) + " |\n|---" + "|---:" * (len(header) - 1) + "|", flush=True)
    rows = []
    for name in args.networks or NETWORKS:
        row = measure(name)
        rows.append(row)
        shown = "–" if row["parity"] is None else f"{row['parity']:.1e}"
        print(
            f"| `{name}` | {row['parameters']:,} | {row['gflops_forward']:.0f} | "
            f"{row['step_memory_gb']:.1f} GB | {row['compile_seconds']:.0f} s | {shown} |",
            flush=True,
        )
    if args.out:
        result = {
            "platform": device.platform,
            "device": device.device_kind,
            "jax": jax.__version__,
            "size": SIZE,
            "batch": BATCH,
            "networks": rows,
        }
        write_text(args.out, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
