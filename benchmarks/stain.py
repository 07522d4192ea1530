"""Stain normalisation of one image, beside staintools, torchstain and torch-staintools; memory; accuracy.

python -m benchmarks.stain [--images DIR] [--target NAME] [--size 1000] [--repeats N] [--peers …]

A transform: uint8 RGB in host memory → the image in a target's colours in host memory, its stains sought
first ("given": they are known, as for the tiles of a slide). Target and image are the same in both, and so
is the method: torchstain has no Vahadane, its rows are Macenko's. A sample is one transform; ours and the
peer's take turns on the same cores; "ours ÷ peer" is the median (quartiles) of the pairs' ratios, below 1
where ours is faster. Peers return what they return (torchstain's PyTorch int32, torch-staintools float32);
staintools gets a copy, as it writes on its input. torch-staintools compiles what it can, before; its Vahadane
takes minutes on CPUs.

staintools seeks Vahadane's stains for one second by the clock. "Without its timer" that call gets iter=1: one
step of SPAMS's dictionary learning, too few to find stains, so only its overheads are left. The row is what
staintools would take if the search were free; the rest is done with stains that it has found before.

Memory: how far the resident set of a process of its own rises, at its highest (Linux's VmHWM), above what it
was after the imports and the fit, whose freed memory is given back to the system first. So neither libraries
nor the image count, but all that as many transforms as --repeats take: programs that ours compiles, buffers
that it keeps, results. On CPUs only.

On accelerators, and elsewhere if --batch asks for it, also a batch of tiles on the device, jitted, uint8 →
uint8. "Bandwidth": the six bytes a pixel that must move, read and written, as a part of what the device moves
where it adds 1 to a large array in place, measured in the same process.

Images: a folder's .tif and .png, 30 at most, or an .npy file uint8 [N, H, W, 3]; without --images tissue
that data_prep.synthetic draws. The first but the target is timed. The second table, where staintools is
installed, is `benchmarks.stain_accuracy`'s, over all of them; its JSON is beside the other. (--width is for
`python -m benchmarks`, which hands it to all; nothing here has one.) Time on a busy machine says little: the
peers' threads wait for each other at every step. The load is in the header.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure, stain_accuracy, stain_peers, stain_resources
from benchmarks.measure import shown, shown_seconds
from benchmarks.stain_peers import ALONE, CONTESTS, INSTALL, Contest
from nucseg_jax.errors import UserError

MOST_IMAGES = 30
TILE = 512

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "ours": lambda r: r["method"] + (", stains given" if r["given"] else "") + _tiles(r),
    "peer": lambda r: r["peer"],
    "time": lambda r: shown_seconds(r["seconds"] and r["seconds"]["median"]),
    "peer's": lambda r: _peer_time(r),
    "ours ÷ peer": lambda r: _shown_ratio(r["ratio"]),
    "images/s": lambda r: shown(r["images_per_second"]),
    "Mpixel/s": lambda r: shown(r["megapixels_per_second"]),
    "memory": lambda r: _shown_megabytes(r["memory_bytes"]),
    "peer's memory": lambda r: _shown_megabytes(r["peer_memory_bytes"]),
    "memory ÷": lambda r: shown(r["memory_ratio"], "{:.2f}"),
    "bandwidth": lambda r: shown(r["bandwidth_share"], "{:.1%}"),
}


def _peer_time(row: dict[str, Any]) -> str:
    if row["peer_seconds"]:
        return shown_seconds(row["peer_seconds"]["median"])
    return f"– ({row['reason']})" if row["reason"] else "–"


def _tiles(row: dict[str, Any]) -> str:
    return f", {row['tiles']} tiles on the device" if row["tiles"] else ""


def _shown_ratio(value: dict[str, float] | None) -> str:
    """Median (quartiles), of ratios far from 1."""
    return "–" if value is None else "{median:.2g} ({q1:.2g}–{q3:.2g})".format(**value)


def _shown_megabytes(value: int | None) -> str:
    return "–" if value is None else f"{value / 1e6:.0f} MB"


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    env = measure.isolated(measure.environment) | stain_peers.versions()
    on_cpu = env["platform"] == "cpu"
    try:
        images = load(args.images, args.size)
        target, image = choose(images, args.target)
    except UserError as error:
        sys.exit(f"error: {error}")
    height, width, _ = images[image].shape
    settings = {
        "images": len(images),
        "target": target,
        "image": image,
        "size": f"{height}×{width}",
        "repeats": args.repeats,
        "load": round(os.getloadavg()[0], 1),
    }
    report = measure.Report("stain", env, settings, COLUMNS, args.out)
    pair = images[target], images[image]
    for package in args.peers or [""]:
        contests = [c for c in (*CONTESTS, *ALONE) if c.package == package]
        rows = measure.isolated(race, contests, *pair, args.repeats)
        if on_cpu and package in ("staintools", ""):
            rows[0] |= stain_resources.memory(contests[0], *pair, args.repeats)
        for row in rows:
            report.add(row)
    tiles = args.batch or (0 if on_cpu else 64)
    side = min(TILE, height, width)
    rows = measure.isolated(stain_resources.batch, *pair, tiles, side, args.repeats) if tiles else []
    for row in rows:
        report.add(_row("vahadane", row["given"], "–", reason=None) | row)
    if args.accuracy:
        accuracy(images, target, args.converged, env, args.out)


def accuracy(
    images: dict[str, np.ndarray],
    target: str,
    converged: int | None,
    env: dict[str, Any],
    out: Path | None,
) -> None:
    """The second table, where staintools is installed."""
    if not env["staintools"] or not (env["spams-bin"] or env["spams"]):
        print(f"\naccuracy is left out: it needs staintools ({INSTALL['staintools']})")
        return
    print()
    settings = {"images": len(images), "target": target, "converged": converged}
    out = out and out.with_stem(f"{out.stem}_accuracy")
    report = measure.Report("stain_accuracy", env, settings, stain_accuracy.COLUMNS, out)
    for steps in [None, converged] if converged else [None]:
        for row in measure.isolated(stain_accuracy.compare, images[target], images, steps):
            report.add(row)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = measure.parser("stain", __doc__, repeats=5)
    parser.add_argument("--images", type=Path, help="folder or .npy file (default: 3 drawn ones)")
    parser.add_argument("--target", metavar="NAME", help="of the target, without .tif (default: the first)")
    parser.add_argument("--size", type=int, default=1000, help="larger images are cut to it (default 1000)")
    parser.add_argument(
        "--batch", type=int, help=f"tiles of {TILE}×{TILE} at once on the device (64; on CPUs none)"
    )
    parser.add_argument(
        "--peers", action="extend", nargs="*", choices=tuple(INSTALL), help="packages (default: all)"
    )
    parser.add_argument("--no-accuracy", dest="accuracy", action="store_false", help="no second table")
    parser.add_argument(
        "--converged", type=int, metavar="STEPS", help="the second table also for so many steps, e.g. 20000"
    )
    args = parser.parse_args(argv)
    # Not the parser's default, which would stay in front of what is given.
    args.peers = list(INSTALL) if args.peers is None else args.peers
    return args


def load(path: Path | None, size: int) -> dict[str, np.ndarray]:
    """Name → uint8 [H, W, 3], at most `size` high and wide.

    Raises:
      UserError: no images, or not RGB.
    """
    if path is None:
        from data_prep.synthetic import generate

        organs = ("breast", "kidney", "colon")
        return {organ: generate(0, i, organ, size)[0] for i, organ in enumerate(organs)}
    from nucseg_jax.slides import SUFFIXES, read_image

    if path.suffix == ".npy":
        images = {str(i): image for i, image in enumerate(np.load(path)[:MOST_IMAGES])}
    else:
        files = sorted(p for p in path.glob("*") if p.suffix.lower() in SUFFIXES)[:MOST_IMAGES]
        images = {file.stem: read_image(file).pixels for file in files}
    if not images:
        raise UserError(f"{path}: no image ({', '.join(SUFFIXES)}) in it")
    return {name: np.ascontiguousarray(image[:size, :size]) for name, image in images.items()}


def choose(images: dict[str, np.ndarray], target: str | None) -> tuple[str, str]:
    """Names of the target and of the image that is timed.

    Raises:
      UserError: there is no such target.
    """
    names = list(images)
    if target is not None and target not in images:
        raise UserError(f"--target {target}: no such image. There are {', '.join(names)}")
    target = target or names[0]
    return target, next((name for name in names if name != target), target)


def race(
    contests: Sequence[Contest], target: np.ndarray, image: np.ndarray, repeats: int
) -> list[dict[str, Any]]:
    """Paired times: a row a contest. Called in a process of its own."""
    import jax

    platform = jax.devices()[0].platform
    # One sample, one transform: what the other side did just before slows both, the faster one more.
    how = measure.sampling("cpu") if platform == "cpu" else measure.Sampling(steps=3, settle=1)
    rows = []
    for contest in contests:
        sides, reason = {"ours": stain_peers.side(contest.ours(target, image), image)}, "none asked for"
        try:
            if contest.make:
                sides["peer"] = stain_peers.side(contest.make(target, image), image)
        except ImportError:
            reason = f"left out: {INSTALL[contest.package]}"
        times = measure.paired(sides, how, repeats)
        seconds = measure.spread(times["ours"])
        row = _row(contest.method, contest.given, contest.peer, reason) | {
            "seconds": seconds,
            "images_per_second": 1 / seconds["median"],
            "megapixels_per_second": image.shape[0] * image.shape[1] / seconds["median"] / 1e6,
        }
        if "peer" in times:
            row |= {
                "reason": None,
                "peer_seconds": measure.spread(times["peer"]),
                "ratio": measure.ratios(times["ours"], times["peer"]),
            }
        rows.append(row)
    return rows


def _row(method: str, given: bool, peer: str, reason: str | None) -> dict[str, Any]:
    """A row without measurements."""
    empty = (
        "seconds",
        "peer_seconds",
        "ratio",
        "images_per_second",
        "megapixels_per_second",
        "memory_bytes",
        "peer_memory_bytes",
        "memory_ratio",
        "tiles",
        "bandwidth_bytes_per_second",
        "bandwidth_share",
    )
    return {"method": method, "given": given, "peer": peer, "reason": reason} | dict.fromkeys(empty)


if __name__ == "__main__":
    main()
