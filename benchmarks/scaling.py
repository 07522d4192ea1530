"""How long a training step takes on many devices: a model, from counted messages and bytes.

python -m benchmarks.scaling: the tables of docs/scaling.md, which says what is measured and what is assumed

The batch grows with the devices. A device computes for as long as alone; then come the messages, none of them
while it computes: two for each batch norm layer and one with all gradients. `tests.training.test_collectives`
counts them in the compiled step. A message of V bytes over n devices takes 2 log₂ n hops and 2 V (n − 1) / n
bytes through a device's link. Over several hosts it is first put together in each of them.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import jax
from flax import nnx

from nucseg_jax.models import count_parameters, design_model
from nucseg_jax.models.layers import ConvOfUpsampled
from nucseg_jax.models.network import forward_flops, split_network

DEVICES = (8, 64, 512, 4096)
NETWORKS = ("unet", "psp_segnet", "efficient_unet")
SIZE = 512
GOOD = 0.95
STEP_FLOPS = 3.0  # of a step, in forward passes
FLOAT = 4  # bytes

MEASURED = Path(__file__).parent / "results" / "train_step_cpu.json"


@dataclass(frozen=True)
class Work:
    """What a step of a network computes and says.

    Attributes:
      flops: of the step, an image.
      norms: channels of each batch norm layer.
      gradients: values that are added up over the devices at the end.
    """

    flops: float
    norms: tuple[int, ...]
    gradients: int


@dataclass(frozen=True)
class Machine:
    """Devices and what lies between them.

    Attributes:
      flops_per_second: of a device in a training step.
      group: devices that a fast network joins: of a host, or a slice of TPUs.
      group_bytes_per_second, bytes_per_second: through a device's link within a group, and to other groups.
      group_hop, hop: seconds from one device to the next, within a group and between groups.
    """

    flops_per_second: float
    group: int
    group_bytes_per_second: float
    bytes_per_second: float
    group_hop: float
    hop: float


def measured_flops_per_second(network: str) -> float:
    """FLOPs of a training step over its seconds, of the CPUs that benchmarks/results has."""
    rows = json.loads(MEASURED.read_text())["rows"]
    row = next(row for row in rows if row["network"] == network)
    return float(row["flops"] / row["seconds"]["median"])


# The first's speed is measured, its network assumed. Of the others all is assumed: a third of the peak in
# bfloat16 (H100: 989 Tflop/s, TPU v5e: 197), and about what their makers say of links, less what is lost.
CPUS = Machine(measured_flops_per_second("unet"), 1, math.inf, 1.1e9, 0.0, 30e-6)
GPUS = Machine(330e12, 8, 300e9, 40e9, 3e-6, 6e-6)
TPUS = Machine(65e12, 256, 80e9, 2.5e9, 1e-6, 30e-6)
MACHINES = {
    "CPUs of two cores, 10 Gbit/s": CPUS,
    "GPUs, eight a host, 400 Gbit/s each": GPUS,
    "TPUs, slices of 256": TPUS,
}


def work_of(name: str) -> Work:
    """A network of two classes at full width, counted."""
    model, _ = design_model(name, rngs=nnx.Rngs(params=0, dropout=0))
    phased = [m.kernel.size for _, m in nnx.iter_modules(model) if isinstance(m, ConvOfUpsampled)]
    network, params, batch_stats = split_network(model)
    flops = STEP_FLOPS * forward_flops(network, params, batch_stats, (1, SIZE, SIZE, 3))
    norms = tuple(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(batch_stats)
        if "mean" in jax.tree_util.keystr(path)
    )
    return Work(flops, norms, count_parameters(params) + 7 * sum(phased) // 9)


def message_seconds(size: float, devices: int, machine: Machine) -> float:
    """Time of one sum over all devices.

    Args:
      size: bytes.
      devices: that take part.
      machine: what they are.
    """
    inside = min(devices, machine.group)
    outside = devices // inside
    hops = 2 * math.log2(inside) * machine.group_hop + 2 * math.log2(outside) * machine.hop
    within = 2 * size * (inside - 1) / inside / machine.group_bytes_per_second
    # Each device of a group passes on its own part.
    between = 2 * size / inside * (outside - 1) / outside / machine.bytes_per_second
    return hops + within + between


def norm_seconds(work: Work, devices: int, machine: Machine) -> float:
    """Time of the messages of all batch norm layers: three values a channel forward, two back."""
    return sum(
        message_seconds(FLOAT * values * channels, devices, machine)
        for channels in work.norms
        for values in (3, 2)
    )


def gradient_seconds(work: Work, devices: int, machine: Machine) -> float:
    """Time of the gradients' message."""
    return message_seconds(FLOAT * work.gradients, devices, machine)


def efficiency(
    work: Work, machine: Machine, devices: int, images: int, *, local_norms: bool = False
) -> float:
    """Share of a step's time in which devices compute.

    Args:
      work, machine: of the step.
      devices: that share it.
      images: of each.
      local_norms: batch norm normalises by a device's own images.
    """
    alone = images * work.flops / machine.flops_per_second
    talk = gradient_seconds(work, devices, machine)
    if not local_norms:
        talk += norm_seconds(work, devices, machine)
    return alone / (alone + talk)


def images_for(work: Work, machine: Machine, devices: int, good: float = GOOD) -> int:
    """Images a device from which a step is efficient."""
    talk = gradient_seconds(work, devices, machine) + norm_seconds(work, devices, machine)
    return max(1, math.ceil(talk * good / (1 - good) * machine.flops_per_second / work.flops))


def tables() -> str:
    """Markdown: what a step computes and says; then a table a machine."""
    works = {name: work_of(name) for name in NETWORKS}
    lines = [
        "| network | Tflop an image | messages | MB of gradients | kB of batch norms |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, work in works.items():
        norms = FLOAT * 5 * sum(work.norms) / 1e3
        lines.append(
            f"| `{name}` | {work.flops / 1e12:.2f} | {2 * len(work.norms) + 1} | "
            f"{FLOAT * work.gradients / 1e6:.0f} | {norms:.0f} |"
        )
    for title, machine in MACHINES.items():
        lines += ["", f"**{title}**", "", "| network | devices | alone, s | step, s | efficiency | "]
        lines[-1] += "with local batch norm | with 8 images | images for 95 % |"
        lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name, work in works.items():
            lines += [_row(name, work, machine, devices) for devices in DEVICES]
    return "\n".join(lines)


def _row(name: str, work: Work, machine: Machine, devices: int) -> str:
    images = 2
    alone = images * work.flops / machine.flops_per_second
    now = efficiency(work, machine, devices, images)
    local = efficiency(work, machine, devices, images, local_norms=True)
    larger = efficiency(work, machine, devices, 8)
    cells = [f"`{name}`", f"{devices:,}", f"{alone:.3g}", f"{alone / now:.3g}"]
    cells += [f"{100 * share:.1f} %" for share in (now, local, larger)]
    return f"| {' | '.join([*cells, str(images_for(work, machine, devices))])} |"


def main() -> None:
    print(tables())


if __name__ == "__main__":
    main()
