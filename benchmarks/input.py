"""What part of a training step the data takes: the resident pipeline, tf.data, and PyTorch's DataLoader.

python -m benchmarks.input [NETWORK]

Images as MoNuSeg's (23 of 1024×1024, drawn at random, in host memory); random crops, quarter turns, flips;
the same patches for all. "batch alone": time a batch on the device when nothing else is done. "step": with a
batch that stays on the device, and with the pipeline, in turn; the share is (with - without) / with, the
median (quartiles) of the pairs: what is left of the data's time when it overlaps with the step. tf.data
needs TensorFlow. The peer is a DataLoader with a worker a core, before PyTorch's own step (as written; on
GPUs channels-last).
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from benchmarks import measure, ours, peers
from benchmarks.measure import Sampling, Side, shown_ratio, shown_seconds
from benchmarks.ours import Case
from nucseg_jax import devices
from nucseg_jax.cores import usable_cores
from nucseg_jax.data import feed_device
from nucseg_jax.data.dataset import Example
from nucseg_jax.data.patches import FLIP, IMAGE, LEFT, TOP, TURNS, PatchPlan
from nucseg_jax.data.rasters import rasters
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.training import feeds
from nucseg_jax.training.step import initial_state, train_step

ENDLESS = 1 << 30
"""Steps that a pipeline is asked for."""

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "pipeline": lambda r: r["pipeline"],
    "batch alone": lambda r: shown_seconds(r["batch_seconds"] and r["batch_seconds"]["median"]),
    "÷ DataLoader": lambda r: shown_ratio(r["ratio"]),
    "step without data": lambda r: shown_seconds(r["step_seconds"] and r["step_seconds"]["median"]),
    "step with data": lambda r: shown_seconds(r["full_seconds"] and r["full_seconds"]["median"]),
    "data's share": lambda r: shown_share(r),
}


def shown_share(row: dict[str, Any]) -> str:
    """Median (quartiles), or why there is none."""
    if row["share"] is None:
        return f"– ({row['reason']})"
    return "{median:.1%} ({q1:.1%}–{q3:.1%})".format(**row["share"])


@dataclass(frozen=True)
class Pipeline:
    """Its three sides: a batch alone, the step on a batch that stays, the step on the pipeline's batches."""

    batch: Side
    step: Side
    full: Side


@dataclass(frozen=True)
class Patches:
    """A dataset for the DataLoader: the patches of one epoch of a plan, again and again.

    Attributes:
      images: uint8[N,H,W,3] tensor.
      label_maps: int32[N,H,W] tensor.
      rows: int32[P,5], see `nucseg_jax.data.patches`.
      crop: side of the patches in pixels.
    """

    images: Any
    label_maps: Any
    rows: np.ndarray
    crop: int

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """(uint8[3,S,S], int32[S,S])."""
        row = self.rows[index % len(self.rows)]
        return self._cut(self.images, row).permute(2, 0, 1), self._cut(self.label_maps, row)

    def _cut(self, stack: Any, row: np.ndarray) -> Any:
        top, left = row[TOP], row[LEFT]
        patch = stack[row[IMAGE], top : top + self.crop, left : left + self.crop]
        patch = patch.rot90(int(row[TURNS]))
        return patch.flip(1) if row[FLIP] else patch


def draw(count: int, side: int) -> list[Example]:
    """Random images of `side` pixels with label maps."""
    generator = np.random.default_rng(0)
    examples = []
    for i in range(count):
        image = generator.integers(0, 256, (side, side, 3)).astype(np.uint8)
        label_map = generator.integers(0, 500, (side, side)).astype(np.int32)
        examples.append(Example(str(i), "", image, label_map, image, label_map))
    return examples


def make_plan(examples: Sequence[Example], crop: int) -> PatchPlan:
    """The paper's patches: 200 random ones an image beside its tiles, turned and flipped."""
    sizes = tuple((e.image.shape[0], e.image.shape[1]) for e in examples)
    return PatchPlan(0, sizes, crop, random_crops=200, turns=True, flips=True)


def resident_pipeline(case: Case, examples: Sequence[Example], stack: contextlib.ExitStack) -> Pipeline:
    plan, mesh = make_plan(examples, case.size), ours.one_device()
    store = feed_device.place(mesh, rasters(examples), plan.sizes)
    cut = jax.jit(functools.partial(feed_device.cut, crop=case.size))
    optimizer = ours.make_optimizer()
    network, *weights = split_network(ours.build(case))
    state = initial_state(mesh, Weights(*weights), optimizer, ours.GIVEN)
    step = functools.partial(train_step, network=network, optimizer=optimizer, **ours.STEP_OPTIONS)
    compiled = feeds.compile_steps(mesh, step, crop=case.size)
    numbers = iter(range(ENDLESS))
    latest: list[Any] = [state, None]

    def rows() -> Any:
        first = next(numbers)
        steps = range(first, first + 1)
        cuts = slice(0, case.batch)
        return feed_device.rows_of(plan, steps, batch_size=case.batch, rows=cuts, steps_per_dispatch=1)

    def batch() -> None:
        latest[1] = cut(store, rows()[:, 0])

    def full() -> None:
        latest[:] = compiled(latest[0], store, devices.gather_shares(mesh, rows()), np.int32(1))

    def wait() -> None:
        jax.block_until_ready(latest)

    return Pipeline(Side(batch, wait), ours.training(case).side, Side(full, wait))


def tfdata_pipeline(case: Case, examples: Sequence[Example], stack: contextlib.ExitStack) -> Pipeline:
    from nucseg_jax.data import feed_host  # needs more than JAX

    plan, mesh = make_plan(examples, case.size), ours.one_device()
    cuts = slice(0, case.batch)
    batches = feed_host.batches(
        rasters(examples), plan, batch_size=case.batch, rows=cuts, first=0, last=ENDLESS
    )
    step, state = ours.start(case)
    latest: list[Any] = [state, None]

    def batch() -> None:
        latest[1] = devices.gather_shares(mesh, next(batches))

    def full() -> None:
        latest[:] = step(latest[0], devices.gather_shares(mesh, next(batches)))

    def wait() -> None:
        jax.block_until_ready(latest)

    return Pipeline(Side(batch, wait), ours.training(case).side, Side(full, wait))


def loader_pipeline(case: Case, examples: Sequence[Example], stack: contextlib.ExitStack) -> Pipeline:
    torch = peers.prepare(case)
    platform = jax.devices()[0].platform
    on_gpu = platform != "cpu"
    peer = "channels_last" if on_gpu else "eager"
    plan = make_plan(examples, case.size)
    patches = Patches(
        torch.from_numpy(np.stack([e.image for e in examples])),
        torch.from_numpy(np.stack([e.label_map for e in examples])),
        plan.batch(0, len(plan)),
        case.size,
    )
    loader = torch.utils.data.DataLoader(
        patches,
        batch_size=case.batch,
        num_workers=usable_cores(),
        pin_memory=on_gpu,
        multiprocessing_context="spawn",  # a fork of a process with JAX's threads can hang
    )
    batches: Iterator[Any] = iter(loader)
    stack.callback(batches._shutdown_workers)  # type: ignore[attr-defined]
    step = peers.training_step(case, peer, platform)
    latest = [None]

    def move() -> Any:
        return [x.to("cuda", non_blocking=True) for x in next(batches)] if on_gpu else next(batches)

    def batch() -> None:
        latest[0] = move()

    wait = torch.cuda.synchronize if on_gpu else (lambda: None)
    alone = peers.training(case, peer, platform)
    return Pipeline(Side(batch, wait), alone, Side(lambda: step(*move()), wait, alone.release))


PIPELINES: dict[str, Callable[[Case, Sequence[Example], contextlib.ExitStack], Pipeline]] = {
    "resident": resident_pipeline,
    "tf.data": tfdata_pipeline,
    "PyTorch DataLoader": loader_pipeline,
}


def race(case: Case, images: int, side: int, repeats: int) -> list[dict[str, Any]]:
    """A row a pipeline. Called in a process of its own."""
    examples = draw(images, side)
    made, reasons = {}, {}
    with contextlib.ExitStack() as stack:
        for name, make in PIPELINES.items():
            try:
                made[name] = make(case, examples, stack)
            except ImportError as error:
                reasons[name] = str(error).splitlines()[0]
        return [_row(name, reasons.get(name)) | times for name, times in _measured(made, repeats).items()] + [
            _row(name, reason) for name, reason in reasons.items()
        ]


def _measured(made: dict[str, Pipeline], repeats: int) -> dict[str, dict[str, Any]]:
    on_cpu = jax.devices()[0].platform == "cpu"
    # Enough batches to empty what was fetched ahead while another side ran. On CPUs a step lasts longer than
    # a batch by far: the one that the step takes is made while it runs.
    alone = Sampling(steps=50, settle=20)
    together = measure.sampling("cpu") if on_cpu else alone
    for pipeline in made.values():
        for side in (pipeline.step, pipeline.full, pipeline.batch):
            side.run()
            side.wait()
            side.release()
    batch = measure.paired({name: p.batch for name, p in made.items()}, alone, repeats)
    # Side by side, so that a pair is not far apart in time.
    sides = {f"{name} {kind}": getattr(p, kind) for name, p in made.items() for kind in ("step", "full")}
    times = measure.paired(sides, together, repeats)
    without, full = ({name: times[f"{name} {kind}"] for name in made} for kind in ("step", "full"))
    peer = batch.get("PyTorch DataLoader")
    return {
        name: {
            "batch_seconds": measure.spread(batch[name]),
            "ratio": peer and measure.ratios(batch[name], peer),
            "step_seconds": measure.spread(without[name]),
            "full_seconds": measure.spread(full[name]),
            "share": measure.spread([(b - a) / b for a, b in zip(without[name], full[name], strict=True)]),
        }
        for name in made
    }


def _row(pipeline: str, reason: str | None) -> dict[str, Any]:
    """A row without measurements."""
    empty = ("batch_seconds", "ratio", "step_seconds", "full_seconds", "share")
    return {"pipeline": pipeline, "reason": reason} | dict.fromkeys(empty)


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("input", __doc__, repeats=10)
    parser.add_argument("network", nargs="?", default="unet", metavar="NETWORK", help="default: unet")
    parser.add_argument("--size", type=int, help="side of the patches in pixels (256; on GPUs 512)")
    parser.add_argument("--batch", type=int, help="patches a step (2; on GPUs 16)")
    parser.add_argument("--dtype", choices=measure.DTYPES, help="(float32; on GPUs bfloat16)")
    parser.add_argument("--images", type=int, default=23, help="how many (default 23)")
    parser.add_argument("--image-size", type=int, default=1024, help="their side in pixels (default 1024)")
    args = parser.parse_args(argv)
    env = measure.isolated(measure.environment)
    size, batch, dtype = (256, 2, "float32") if env["platform"] == "cpu" else (512, 16, "bfloat16")
    case = Case(args.network, args.width, args.size or size, args.batch or batch, args.dtype or dtype)
    settings = {
        "network": case.name,
        "size": case.size,
        "batch": case.batch,
        "dtype": case.dtype,
        "width": case.width,
        "images": args.images,
        "image_size": args.image_size,
        "repeats": args.repeats,
    }
    report = measure.Report("input", env, settings, COLUMNS, args.out)
    for row in measure.isolated(race, case, args.images, args.image_size, args.repeats):
        report.add(row)


if __name__ == "__main__":
    main()
