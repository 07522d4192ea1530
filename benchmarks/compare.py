"""One network after the other against its peers: what `train_step`, `inference` and `shipped` share."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks import measure, peers
from benchmarks.measure import Side, shown, shown_bytes, shown_ratio, shown_seconds
from benchmarks.ours import Case, Ours
from nucseg_jax.models import NETWORKS

PUBLISHED = ("fcn8", "fc_densenet", "unet", "segnet", "psp_segnet", "self_correction")

MakeOurs = Callable[[Case], Ours]
MakePeer = Callable[[Case, str, str], Side]

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "network": lambda r: f"`{r['network']}`",
    "dtype": lambda r: r["dtype"],
    "peer": lambda r: label(r["peer"]),
    "ours": lambda r: shown_seconds(r["seconds"] and r["seconds"]["median"]),
    "peer's": lambda r: shown_seconds(r["peer_seconds"]["median"]) if r["peer_seconds"] else _why(r),
    "ours ÷ peer": lambda r: shown_ratio(r["ratio"]),
    "images/s": lambda r: shown(r["images_per_second"]),
    "memory": lambda r: shown_bytes(r["memory_bytes"]),
    "peer's memory": lambda r: shown_bytes(r["peer_memory_bytes"]),
    "utilisation": lambda r: shown(r["utilisation"], "{:.0%}"),
}


OTHERS = {"onnxruntime": "ONNX Runtime", "augmented": "ours, augmenting", "–": "–"}
"""What the peers that are not PyTorch are called in tables."""


def label(peer: str) -> str:
    """A peer's name → what it is called in tables."""
    return OTHERS.get(peer, f"PyTorch {peer}")


def _why(row: dict[str, Any]) -> str:
    return f"– ({row['reason']})"


def run(
    name: str,
    doc: str | None,
    make_ours: MakeOurs,
    make_peer: MakePeer,
    argv: Sequence[str] | None,
) -> None:
    """The command. Exits with 1 where one of our own sides failed."""
    args = parse(name, doc, argv)
    env = measure.isolated(measure.environment)
    use_defaults(args, on_gpu=env["platform"] != "cpu")
    settings = {key: getattr(args, key) for key in ("size", "batch", "width", "repeats")}
    report = measure.Report(name, env, settings, COLUMNS, args.out)
    cases = [
        Case(network, args.width, args.size, args.batch, dtype)
        for network in args.networks
        for dtype in args.dtype
    ]
    race_all(report, cases, make_ours, make_peer, args.peers, args.repeats, args.matrix)


def race_all(
    report: measure.Report,
    cases: Sequence[Case],
    make_ours: MakeOurs,
    make_peer: MakePeer,
    names: Sequence[str],
    repeats: int,
    matrix: int,
) -> None:
    """Fill a report, then say how ours does beside the fastest peer. Exits with 1 where a case failed.

    Args:
      report: gets a row a case and peer.
      cases: what is run, one after the other.
      make_ours, make_peer: make the sides of a case.
      names: the peers.
      repeats: pairs of samples.
      matrix: side of the matrices for the rate.
    """
    failed, lines = False, []
    for case in cases:
        try:
            rows = measure.isolated(race, make_ours, make_peer, case, names, repeats, matrix)
        except Exception as error:  # the other networks are still worth measuring
            traceback.print_exc()
            rows, failed = [_row(case, "–", reason=_first_line(error))], True
        for row in rows:
            report.add(row)
        if best := fastest(rows):
            ratio = shown_ratio(best["ratio"])
            lines.append(f"{case.name}, {case.dtype}: {ratio} × the fastest peer, {label(best['peer'])}")
    print("\n" + "\n".join(lines))
    if failed:
        sys.exit(1)


def fastest(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the peer with the least median time; None where no peer ran."""
    raced = [row for row in rows if row["peer_seconds"] and row["peer"] != "augmented"]
    return min(raced, key=lambda row: row["peer_seconds"]["median"], default=None)


def parse(name: str, doc: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = measure.parser(name, doc, repeats=5)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: the published ones")
    parser.add_argument("--size", type=int, help="side of the images in pixels (256; on GPUs 512)")
    parser.add_argument("--batch", type=int, help="images a step (2; on GPUs 16)")
    parser.add_argument(
        "--dtype",
        action="extend",
        nargs="+",
        choices=measure.DTYPES,
        help="one or more (float32; on GPUs bfloat16 tf32)",
    )
    parser.add_argument(
        "--peers",
        action="extend",
        nargs="*",
        choices=peers.PEERS,
        help="PyTorch's ways (eager channels_last; on GPUs also compile, which needs a C++ compiler)",
    )
    parser.add_argument("--matrix", type=int, help="side of the matrices for the rate (2048; on GPUs 8192)")
    args = parser.parse_args(argv)
    args.networks = args.networks or list(PUBLISHED)
    if unknown := [n for n in args.networks if n not in NETWORKS]:
        parser.error(f"unknown network {unknown[0]!r}: known are {', '.join(sorted(NETWORKS))}")
    return args


def use_defaults(args: argparse.Namespace, on_gpu: bool) -> None:
    """Fill in what was not asked for; exit where a CPU is asked for what it has not."""
    defaults: dict[str, Any] = (
        {"size": 512, "batch": 16, "dtype": ["bfloat16", "tf32"], "peers": list(peers.PEERS), "matrix": 8192}
        if on_gpu
        else {"size": 256, "batch": 2, "dtype": ["float32"], "peers": list(peers.PEERS[:2]), "matrix": 2048}
    )
    for key, value in defaults.items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    if "tf32" in args.dtype and not on_gpu:
        sys.exit("error: --dtype tf32 is for GPUs: CPUs multiply float32 as float32")


def race(
    make_ours: MakeOurs, make_peer: MakePeer, case: Case, names: Sequence[str], repeats: int, matrix: int
) -> list[dict[str, Any]]:
    """Paired times of one network: a row a peer. Called in a process of its own.

    Raises:
      AssertionError: a peer's result is not ours (`measure.difference`).
    """
    import jax

    platform = jax.devices()[0].platform
    ours = make_ours(case)
    memory = ours.memory_bytes
    sides, peer_memory, reasons = {"ours": ours.side}, {}, {}
    for name in names:
        try:
            sides[name], peer_memory[name] = peers.warmed_up(partial(make_peer, case, name, platform))
        except Exception as error:  # no PyTorch, no compiler, too little memory: no peer, and why
            reasons[name] = _first_line(error)
    differences = {name: measure.difference(ours.side, sides[name], case.dtype) for name in peer_memory}
    step_seconds = measure.Sampling(steps=1, settle=1).seconds(ours.side)
    times = measure.paired(sides, measure.sampling(platform, step_seconds), repeats)
    rate = measure.matrix_rate(case.dtype, matrix)
    seconds = measure.spread(times["ours"])
    mine = {
        "seconds": seconds,
        "images_per_second": case.batch / seconds["median"],
        "memory_bytes": memory,
        "plan_bytes": ours.plan_bytes,
        "flops": ours.flops,
        "matrix_flops_per_second": rate,
        "utilisation": ours.flops / seconds["median"] / rate,
    }
    rows = []
    for name in names or ["–"]:
        row = _row(case, name, reason=reasons.get(name, "none asked for")) | mine
        if name in sides:
            row |= {
                "reason": None,
                "peer_seconds": measure.spread(times[name]),
                "ratio": measure.ratios(times["ours"], times[name]),
                "peer_memory_bytes": peer_memory[name],
                "difference": differences[name],
            }
        rows.append(row)
    return rows


def _row(case: Case, peer: str, reason: str | None) -> dict[str, Any]:
    """A row without measurements."""
    empty = (
        "seconds",
        "images_per_second",
        "memory_bytes",
        "plan_bytes",
        "flops",
        "matrix_flops_per_second",
        "utilisation",
        "peer_seconds",
        "ratio",
        "peer_memory_bytes",
        "difference",
    )
    identity = {
        "network": case.name,
        "size": case.size,
        "batch": case.batch,
        "dtype": case.dtype,
        "peer": peer,
        "reason": reason,
    }
    return identity | dict.fromkeys(empty)


def _first_line(error: Exception) -> str:
    """What went wrong, short enough for a cell."""
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0]}"[:120].replace("|", "/")
