"""Training images beyond memory: what `data.pipeline = "streamed"` holds, and how long a step waits for it.

python -m benchmarks.streaming [--images 20000] [--steps 300]

Draws and packs a few tissue images, copies their records into shards again and again under other names, and
takes the batches of some steps in a process of its own, as training does: from the start, with all that
training checks before. A step sleeps. "waits": the share of all steps' time that goes by until their batches
are there. "memory": what the process holds before it reads the dataset, after the first batch, and at the end
(Linux).
"all in memory": what the images would take that `tfdata` and `resident` hold. The shards are deleted at the
end.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.draw import polygon2mask

from benchmarks import measure
from benchmarks.measure import held_bytes, shown_bytes, shown_seconds
from data_prep.synthetic import ORGANS, generate
from nucseg_jax.data import feed_streamed, packed
from nucseg_jax.data.annotation import check_annotated, check_nuclei
from nucseg_jax.data.dataset import TRAIN, Dataset, Example
from nucseg_jax.data.packed_index import INDEX, read_index, write_index
from nucseg_jax.data.patches import PatchPlan
from nucseg_jax.data.rasters import rasters_with_depth
from nucseg_jax.data.shards import Shards, ShardWriter

NAME = "folder/drawn_none"

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "images": lambda r: f"{r['images']:,}",
    "all in memory": lambda r: shown_bytes(r["loaded_bytes"]),
    "on disk": lambda r: shown_bytes(r["disk_bytes"]),
    "first batch after": lambda r: shown_seconds(r["first_seconds"]),
    "waits": lambda r: f"{r['waiting']:.2%}",
    "longest wait": lambda r: shown_seconds(r["longest_seconds"]),
    "memory before": lambda r: shown_bytes(r["before_bytes"]),
    "after the first batch": lambda r: shown_bytes(r["first_bytes"]),
    "at the end": lambda r: shown_bytes(r["end_bytes"]),
}


def draw(count: int, side: int) -> list[Example]:
    """Drawn tissue of `side` pixels with its label maps."""
    drawn = []
    for i in range(count):
        organ = list(ORGANS)[i % len(ORGANS)]
        image, polygons = generate(0, i, organ, side)
        label_map = np.zeros((side, side), np.int32)
        for label, polygon in enumerate(polygons, start=1):
            label_map[polygon2mask((side, side), polygon[:, ::-1])] = label
        drawn.append(Example(f"{i}", organ, image, label_map, None, label_map, "drawn"))
    return drawn


def pack(root: Path, count: int, side: int, shards: int, different: int = 32) -> dict[str, Any]:
    """Packs `count` images below `root`, of which so many differ. Called in a process of its own."""
    few, folder, per_shard = root / "few", root / NAME, -(-count // shards)
    packed.write(Dataset("few", {TRAIN: draw(different, side)}, {}), few, overwrite=False, shards=1)
    entries = read_index(few / INDEX)["splits"][TRAIN]
    given, writer = Shards(few, different), ShardWriter(folder, per_shard)
    copies = []
    for i in range(count):
        entry = entries[i % different]
        records = {kind: writer.add(kind, given.read(kind, n)) for kind, n in entry["records"].items()}
        copies.append({**entry, "id": f"{i:05d}", "records": records})
    writer.close()
    write_index(folder, {TRAIN: copies}, {"mpp": 0.25}, per_shard=per_shard)
    return {
        "images": count,
        "disk_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "loaded_bytes": count * side**2 * 7,
    }


def stream(root: Path, crop: int, batch: int, steps: int, step_seconds: float) -> dict[str, Any]:
    """Takes the batches of `steps` steps. Called in a process of its own."""
    before, start = held_bytes("VmRSS"), time.perf_counter()
    batches = _batches(root, crop, batch, steps)
    next(batches)
    first, first_bytes = time.perf_counter() - start, held_bytes("VmRSS")
    held, waits = [], []
    start = time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - asked)
        time.sleep(step_seconds)
        held.append(held_bytes("VmRSS"))
    return {
        "first_seconds": first,
        "waiting": sum(waits) / (time.perf_counter() - start),
        "longest_seconds": max(waits),
        "before_bytes": before,
        "first_bytes": first_bytes,
        "end_bytes": held[-1],
        "held_bytes": held[:: max(1, steps // 20)],
    }


def _batches(root: Path, crop: int, batch: int, steps: int) -> Any:
    """As `training.train` comes to them: with depths, which take the most records."""
    dataset = packed.read(root / NAME)
    examples, _ = dataset.training(())
    dataset.check_sizes(crop, crop)
    check_nuclei(dataset.name, "training images", examples)
    check_annotated(dataset.name, "training images", examples)
    sizes = tuple(e.size for e in examples)
    plan = PatchPlan(0, sizes, crop, random_crops=8, fresh=True, turns=True, flips=True)
    return feed_streamed.batches(
        rasters_with_depth(examples),
        plan,
        batch_size=batch,
        rows=slice(0, batch),
        first=0,
        last=steps + 1,
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("streaming", __doc__, repeats=None, width=None)
    parser.add_argument("--images", type=int, default=20_000, help="how many (default 20,000)")
    parser.add_argument("--image-size", type=int, default=256, help="their side in pixels (default 256)")
    parser.add_argument("--shards", type=int, default=16, help="(default 16)")
    parser.add_argument("--size", type=int, default=128, help="side of the patches in pixels (default 128)")
    parser.add_argument("--batch", type=int, default=8, help="patches a step (default 8)")
    parser.add_argument("--steps", type=int, default=300, help="(default 300)")
    parser.add_argument("--step-seconds", type=float, default=0.2, help="that a step sleeps (default 0.2)")
    parser.add_argument("--scratch", type=Path, help="folder for the shards (default: the system's)")
    args = parser.parse_args(argv)
    env = measure.isolated(measure.environment)
    names = ("images", "image_size", "shards", "size", "batch", "steps", "step_seconds")
    report = measure.Report(
        "streaming", env, {name: getattr(args, name) for name in names}, COLUMNS, args.out
    )
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        root = Path(folder)
        row = measure.isolated(pack, root, args.images, args.image_size, args.shards)
        taken = measure.isolated(stream, root, args.size, args.batch, args.steps, args.step_seconds)
        report.add(row | taken)


if __name__ == "__main__":
    main()
