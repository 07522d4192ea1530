"""What a training takes on this machine, before it is started: memory a device, and seconds a step."""

import math
import statistics
import time
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import data, devices
from nucseg_jax.config import check_values
from nucseg_jax.data.patches import PatchPlan
from nucseg_jax.data.rasters import Rasters
from nucseg_jax.errors import shown
from nucseg_jax.models.targets import check_classes
from nucseg_jax.training import augmentation, feeds, held_out, optim, start
from nucseg_jax.training import origin as origins
from nucseg_jax.training.cycles import Cycles
from nucseg_jax.training.sharding import whole_bytes
from nucseg_jax.training.step import Given, TrainState, compile_step
from nucseg_jax.training.train import learning_rates, make_optimizer, make_step, plan_patches, rasters_of

STEPS = 5
"""That are timed, after one that is not."""


class Estimate(NamedTuple):
    """What one device needs, and how long training takes.

    Attributes:
      device: what it is.
      devices: how many train together.
      state_bytes: weights, statistics, the optimizer's state and the moving average, as far as the device
        holds them (`config.shard`).
      whole_bytes: the same of one device alone.
      step_bytes: all that a step needs at once, these included, as XLA has planned it.
      store_bytes: the images that the device keeps (`data.pipeline=resident`); 0 otherwise.
      limit_bytes: the device's memory; None where it does not say (CPUs).
      step_seconds: median of STEPS, input included; None where the memory is too small.
      steps: of the whole training.
    """

    device: str
    devices: int
    state_bytes: int
    whole_bytes: int
    step_bytes: int
    store_bytes: int
    limit_bytes: int | None
    step_seconds: float | None
    steps: int

    @property
    def fits(self) -> bool:
        """Whether the device has the memory, as far as it says."""
        return self.limit_bytes is None or self.step_bytes + self.store_bytes <= self.limit_bytes


def estimate(config: ConfigDict) -> Estimate:
    """Plan the training of a config, and time some steps on its own patches; nothing is written.

    Of a training that goes on or starts from another network the weights are others, and the figures these.
    Refined labels, which self-correction adds later, are not counted.

    Args:
      config: the experiment.

    Raises:
      UserError: as `train.train`.
    """
    mesh = devices.make_mesh()
    check_values(config, mesh.devices.size)
    check_classes(config.model.num_classes)
    dataset = data.load(config.data)
    dataset.check_sizes(config.data.crop_size, augmentation.window_size(config))
    config, _ = held_out.with_chosen(config, dataset, None, None)
    examples, _ = dataset.training(config.data.validation)
    plan = plan_patches(config, examples)
    steps_per_epoch = len(plan) / config.batch_size
    cycles = Cycles.of(config, steps_per_epoch)
    rates = optim.table(learning_rates(config, cycles, steps_per_epoch), cycles.num_steps)
    optimizer = make_optimizer(config)
    stain = origins.stain_of(None, config.stain, dataset)
    begun = start.fresh(config, mesh, optimizer, Given.of(rates, config.seed), None, stain)
    step = make_step(config, begun.network, optimizer)
    cut = rasters_of(config, examples)
    batch = _batch_shapes(config, mesh, plan, cut)
    compiled = compile_step(mesh, step, begun.shapes).lower(begun.shapes, batch).compile()
    planned: Any = compiled.memory_analysis()
    first = mesh.local_devices[0]
    found = Estimate(
        device=f"{first.device_kind} ({first.platform})",
        devices=mesh.devices.size,
        state_bytes=devices.bytes_on_device(begun.shapes),
        whole_bytes=whole_bytes(begun.shapes),
        step_bytes=planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        - planned.alias_size_in_bytes
        + planned.temp_size_in_bytes,
        store_bytes=_store_bytes(plan, cut) if config.data.pipeline == "resident" else 0,
        limit_bytes=(first.memory_stats() or {}).get("bytes_limit"),
        step_seconds=None,
        steps=cycles.num_steps,
    )
    if not found.fits:
        return found
    count = min(STEPS, cycles.num_steps - 1)
    advance = feeds.build(config, mesh, step, plan, begun.shapes)(cut, range(count + 1))
    return found._replace(step_seconds=_step_seconds(advance, begun.state(), count))


def told(found: Estimate, config: ConfigDict) -> list[str]:
    """An estimate in lines.

    Args:
      found: what was estimated.
      config: of which.
    """
    crop, batch = config.data.crop_size, config.batch_size
    parts = f"weights and the optimizer's state {_shown_bytes(found.state_bytes)}"
    if found.state_bytes < found.whole_bytes:
        parts += f", of {_shown_bytes(found.whole_bytes)} that the devices share"
    if found.store_bytes:
        parts += f"; images on the device {_shown_bytes(found.store_bytes)}"
    lines = [
        f"{config.model.name}, batches of {batch} patches of {crop}×{crop} on {found.devices} × "
        f"{shown(found.device)}",
        f"memory a device: {_shown_bytes(found.step_bytes + found.store_bytes)} ({parts})",
    ]
    if not found.fits:
        assert found.limit_bytes is not None
        remedies = [f"optim.accumulate={config.optim.accumulate * 2}", "or a smaller batch_size"]
        if found.devices > 1 and config.shard != "parameters":
            remedies.insert(0, "shard=parameters")
        if config.model.recompute != "blocks":
            remedies.insert(0, "model.recompute=blocks (slower steps)")
        lines.append(
            f"it does not fit: the device has {_shown_bytes(found.limit_bytes)}. Set {', '.join(remedies)}"
        )
    elif found.step_seconds is not None:
        rate = batch / found.step_seconds
        lines.append(
            f"a step: {found.step_seconds:.3g} s, {rate:.3g} patches a second (median of {STEPS})\n"
            f"{found.steps:,} steps: {_hours(found.step_seconds * found.steps)}, without compilation, "
            "checkpoints and held-out images"
        )
    return lines


def _step_seconds(advance: feeds.Advance, state: TrainState, count: int) -> float | None:
    """The median time of a step, after a first one."""
    state, losses = advance(state, range(1))
    jax.block_until_ready(losses)
    seconds = []
    for number in range(1, count + 1):
        begin = time.perf_counter()
        state, losses = advance(state, range(number, number + 1))
        jax.block_until_ready(losses)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds) if seconds else None


def _batch_shapes(
    config: ConfigDict, mesh: Mesh, plan: PatchPlan, cut: Rasters
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of patches."""
    side = plan.crop
    return {
        name: jax.ShapeDtypeStruct(
            (config.batch_size, side, side, *arrays[0].shape[2:]),
            arrays[0].dtype,
            sharding=devices.split(mesh),
        )
        for name, arrays in cut.items()
    }


def _store_bytes(plan: PatchPlan, cut: Rasters) -> int:
    """Bytes of the images on a device (`data.feed_device.place`), all as large as the largest."""
    height, width = (max(sides) for sides in zip(*plan.sizes, strict=True))
    a_pixel = sum(math.prod(arrays[0].shape[2:]) * arrays[0].dtype.itemsize for arrays in cut.values())
    return len(plan.sizes) * height * width * a_pixel


def _shown_bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _hours(seconds: float) -> str:
    minutes = seconds / 60
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{minutes:.0f} min"
        if minutes < 90
        else f"{minutes / 60:.1f} h"
    )
