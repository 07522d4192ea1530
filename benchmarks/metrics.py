"""All scores of one image, beside the loops over pairs of nuclei that the field uses.

python -m benchmarks.metrics [--nuclei 900] [--size 1000] [--repeats N]

The truth: ellipses that touch, about a third of the image, ids in no order and with gaps. The predictions
are made of it: moved, each nucleus eroded, some dropped, all of these. A row a prediction: `metrics.score`
(median of the repeats, on one core), the loops of `benchmarks.metrics_loops` (once; for each pair that
overlaps they compare masks of the whole image), and the largest difference between their scores. Exits with
1 where one differs by more than 1e-9.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import measure, metrics_loops
from benchmarks.measure import Sampling, Side, shown_seconds
from nucseg_jax import metrics

TOLERANCE = 1e-9

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "prediction": lambda r: r["prediction"],
    "true nuclei": lambda r: str(r["count_true"]),
    "predicted": lambda r: str(r["count_pred"]),
    "AJI": lambda r: f"{r['aji']:.3f}",
    "`metrics.score`": lambda r: shown_seconds(r["seconds"]["median"]),
    "loops": lambda r: shown_seconds(r["loop_seconds"]),
    "loops ÷ ours": lambda r: f"{r['ratio']:.0f}",
    "largest difference": lambda r: f"{r['largest_difference']:.1g}",
}


def draw(nuclei: int, size: int, seed: int = 0) -> NDArray[np.int32]:
    """int32 [size, size]: ellipses of 7 to 14 pixels' half axes; what they overlap stays the first one's."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-14:15, -14:15]
    label_map = np.zeros((size, size), np.int32)
    for nucleus in generator.permutation(3 * nuclei)[:nuclei] + 1:
        for _ in range(1000):
            top, left = generator.integers(0, size - 28, 2)
            a, b = generator.uniform(7, 14, 2)
            angle = generator.uniform(0, np.pi)
            along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            ellipse = (along / a) ** 2 + (across / b) ** 2 <= 1
            window = label_map[top : top + 29, left : left + 29]
            free = ellipse & (window == 0)
            if free.sum() > 0.7 * ellipse.sum():
                window[free] = nucleus
                break
        else:
            sys.exit(f"error: {size}×{size} pixels have no room for {nuclei} nuclei")
    return label_map


def predictions(truth: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
    """Name → what a segmentation might make of the truth, with other ids."""
    generator = np.random.default_rng(1)
    ids = np.unique(truth)[1:]
    new_id = np.zeros(ids[-1] + 1, np.int32)
    new_id[ids] = 1 + generator.permutation(5 * len(ids))[: len(ids)]
    kept = np.where(generator.random(len(new_id)) < 0.85, new_id, 0).astype(np.int32)
    # A pixel stays where its whole neighbourhood is the same nucleus.
    inside = ndimage.minimum_filter(truth, 3) == ndimage.maximum_filter(truth, 3)
    return {
        "moved by (3, 2)": np.roll(new_id[truth], (3, 2), (0, 1)),
        "eroded": np.where(inside, new_id[truth], 0),
        "15 % dropped": kept[truth],
        "all of these": np.roll(np.where(inside, kept[truth], 0), (3, 2), (0, 1)),
    }


def race(name: str, truth: NDArray, prediction: NDArray, repeats: int) -> dict[str, Any]:
    """A row."""
    ours = metrics.score(truth, prediction)
    sides = {"ours": Side(lambda: metrics.score(truth, prediction))}
    seconds = measure.spread(measure.paired(sides, Sampling(steps=1, settle=0), repeats)["ours"])
    start = time.perf_counter()
    loops = metrics_loops.score(truth, prediction)
    loop_seconds = time.perf_counter() - start
    return {
        "prediction": name,
        "count_true": int(ours["count_true"]),
        "count_pred": int(ours["count_pred"]),
        "aji": ours["aji"],
        "seconds": seconds,
        "loop_seconds": loop_seconds,
        "ratio": loop_seconds / seconds["median"],
        "largest_difference": max(abs(ours[key] - loops[key]) for key in ours.keys() | loops.keys()),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("metrics", __doc__, repeats=20)
    parser.add_argument("--nuclei", type=int, default=900, help="how many (default 900)")
    parser.add_argument("--size", type=int, default=1000, help="side of the image in pixels (default 1000)")
    args = parser.parse_args(argv)
    if args.size < 64 or args.nuclei < 1:
        parser.error("needs --size 64 or more, --nuclei 1 or more")
    env = measure.isolated(measure.environment) | {
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    settings = {"nuclei": args.nuclei, "size": args.size, "repeats": args.repeats}
    truth = draw(args.nuclei, args.size)
    report = measure.Report("metrics", env, settings, COLUMNS, args.out)
    differ = False
    for name, prediction in predictions(truth).items():
        row = race(name, truth, prediction, args.repeats)
        report.add(row)
        differ |= not row["largest_difference"] <= TOLERANCE  # so that NaN differs
    if differ:
        sys.exit(f"error: scores differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
