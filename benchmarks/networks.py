"""What each network costs: parameters, FLOPs, memory and compilation of a training step, parity.

python -m benchmarks.networks [NETWORK …]

FLOPs: of one forward pass of one 512×512 image (`ours.forward_flops`). Memory and compilation: the training
step, batch 2, 512×512, float32, on one device; memory is XLA's plan for it: weights, optimizer and batch
included. Parity: the largest difference between the logits of Flax and PyTorch as a part of their range, on a
256×192 image, float32 on the CPU (needs PyTorch).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import measure, ours
from benchmarks.measure import shown, shown_bytes
from benchmarks.ours import Case
from nucseg_jax.models import NETWORKS, count_parameters, create_model

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "network": lambda r: f"`{r['network']}`",
    "parameters": lambda r: f"{r['parameters']:,}",
    "GFLOPs": lambda r: f"{r['gflops_forward']:.0f}",
    "step memory": lambda r: shown_bytes(r["step_memory_bytes"]),
    "compilation": lambda r: f"{r['compile_seconds']:.0f} s",
    "parity": lambda r: shown(r["parity"], "{:.1e}"),
}


def cost(case: Case) -> dict[str, Any]:
    """All figures of one network."""
    lowered = ours.lower_step(case)
    start = time.perf_counter()
    plan = lowered.compile().memory_analysis()
    seconds = time.perf_counter() - start
    return {
        "network": case.name,
        "parameters": count_parameters(ours.abstract(case)[1]),
        "gflops_forward": ours.forward_flops(replace(case, batch=1)) / 1e9,
        "step_memory_bytes": ours.plan_bytes(plan),
        "compile_seconds": seconds,
        "parity": parity(case),
    }


def parity(case: Case) -> float | None:
    """max |Δlogits| / range of the logits, or None without PyTorch."""
    try:
        import torch

        from nucseg_jax.torch_bridge import load_state_dict
        from nucseg_jax.torch_bridge.calibration import calibrate, weaken_residuals
        from nucseg_jax.torch_bridge.networks import create_torch_network
    except ImportError:
        return None
    torch.manual_seed(0)
    network = create_torch_network(case.name, width=case.width)
    weaken_residuals(network)
    calibrate(network)
    model = create_model(case.name, width=case.width, rngs=nnx.Rngs(params=0, dropout=0))
    load_state_dict(model, network.state_dict())
    model.eval()
    image = np.random.default_rng(0).random((1, 256, 192, 3), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    logits = nnx.jit(lambda m, x: m(x))(model, jnp.asarray(image))
    return float(np.abs(logits - expected).max() / np.ptp(expected))


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("networks", __doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels (default 512)")
    args = parser.parse_args(argv)
    jax.config.update("jax_enable_compilation_cache", False)  # its time is measured
    settings = {"size": args.size, "batch": 2, "dtype": "float32", "width": args.width}
    report = measure.Report("networks", measure.environment(), settings, COLUMNS, args.out)
    for name in args.networks or NETWORKS:
        report.add(cost(Case(name, args.width, args.size, 2, "float32")))


if __name__ == "__main__":
    main()
