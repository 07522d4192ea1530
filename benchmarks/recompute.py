"""What it saves, and costs, to compute the activations inside of blocks again in the backward pass.

python -m benchmarks.recompute [NETWORK …] [--timed NETWORK …]

A training step in float32 with `recompute` = "none", "auto" (what each network does of its own accord) and
"blocks"; "÷" is "blocks" ÷ "none". Memory is XLA's plan for the step beside what it is given: activations and
gradients, and neither weights, optimizer nor batch. FLOPs, by XLA's cost analysis, are those of the step with
what is computed again, as lowered for a TPU (`ours.step_flops`): of the loops in a CPU's compiled step, whose
FLOPs the JSON has, too, it counts one round. Neither needs memory for weights. Time is measured for the
networks after --timed: both ways in turn, and the median (quartiles) of the pairs' ratios.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax

from benchmarks import measure, ours
from benchmarks.measure import shown_bytes, shown_ratio, shown_seconds
from benchmarks.ours import Case
from nucseg_jax.models import NETWORKS

ONE_OF_EACH = ("fcn8", "segnet", "unet", "fc_densenet", "psp_segnet", "self_correction", "efficient_unet")

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "network": lambda r: f"`{r['network']}`",
    "memory: none": lambda r: shown_bytes(r["none"]["bytes"]),
    "memory: auto": lambda r: shown_bytes(r["auto"]["bytes"]),
    "memory: blocks": lambda r: shown_bytes(r["blocks"]["bytes"]),
    "memory ÷": lambda r: f"{r['blocks']['bytes'] / r['none']['bytes']:.2f}",
    "GFLOPs: none": lambda r: f"{r['none']['flops'] / 1e9:.0f}",
    "GFLOPs: blocks": lambda r: f"{r['blocks']['flops'] / 1e9:.0f}",
    "FLOPs ÷": lambda r: f"{r['blocks']['flops'] / r['none']['flops']:.2f}",
    "time: none": lambda r: shown_seconds(r["seconds"] and r["seconds"]["none"]["median"]),
    "time: blocks": lambda r: shown_seconds(r["seconds"] and r["seconds"]["blocks"]["median"]),
    "time ÷": lambda r: shown_ratio(r["ratio"]),
}


def planned(case: Case) -> dict[str, dict[str, float]]:
    """Memory and FLOPs of the step, by what is computed again; one program is compiled once."""
    plans: dict[str, dict[str, float]] = {}
    found = {}
    for recompute in ("none", "auto", "blocks"):
        chosen = replace(case, recompute=recompute)
        lowered = ours.lower_step(chosen)
        text = lowered.as_text()
        if text not in plans:
            compiled = lowered.compile()
            memory: Any = compiled.memory_analysis()
            plans[text] = {
                "bytes": memory.temp_size_in_bytes,
                "flops": ours.step_flops(chosen),
                "compiled_flops": (compiled.cost_analysis() or {})["flops"],
            }
        found[recompute] = plans[text]
    return found


def timed(case: Case, repeats: int) -> dict[str, Any]:
    """Seconds of the step with and without, in turn."""
    sides = {
        recompute: ours.training(replace(case, recompute=recompute)).side for recompute in ("none", "blocks")
    }
    step_seconds = measure.Sampling(steps=1, settle=1).seconds(sides["none"])
    how = measure.sampling(jax.devices()[0].platform, step_seconds)
    times = measure.paired(sides, how, repeats)
    return {
        "seconds": {recompute: measure.spread(seconds) for recompute, seconds in times.items()},
        "ratio": measure.ratios(times["blocks"], times["none"]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("recompute", __doc__, repeats=5)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: {', '.join(ONE_OF_EACH)}")
    parser.add_argument("--timed", nargs="*", default=[], choices=NETWORKS, help="whose steps are run")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels (default 256)")
    parser.add_argument("--batch", type=int, default=4, help="images a step (default 4)")
    args = parser.parse_args(argv)
    networks = args.networks or ONE_OF_EACH
    if unknown := sorted({*networks} - {*NETWORKS}):
        parser.error(f"unknown network {unknown[0]!r}: known are {', '.join(sorted(NETWORKS))}")
    settings = {key: getattr(args, key) for key in ("size", "batch", "width", "repeats")}
    report = measure.Report("recompute", measure.environment(), settings, COLUMNS, args.out)
    for name in networks:
        case = Case(name, args.width, args.size, args.batch, "float32")
        row = {"network": name, "seconds": None, "ratio": None} | measure.isolated(planned, case)
        if name in args.timed:
            row |= measure.isolated(timed, case, args.repeats)
        report.add(row)


if __name__ == "__main__":
    main()
