"""The models that ship beside their peers: what `shipped_train_step` and `shipped_inference` share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from benchmarks import compare, measure
from benchmarks.compare import COLUMNS, MakeOurs, MakePeer
from benchmarks.measure import shown
from benchmarks.ours import Case
from nucseg_jax.models.network import Weights

Shape = tuple[int, int]
"""Images a step, and their side in pixels."""


def run(
    name: str,
    doc: str | None,
    make_ours: MakeOurs,
    make_peer: MakePeer,
    argv: Sequence[str] | None,
    *,
    shapes: Mapping[str, Shape],
    peers: Sequence[str],
    default_peers: Sequence[str],
) -> None:
    """The command. Exits with 1 where one of our own sides failed, or a peer's result is not ours.

    Args:
      name: of the benchmark.
      doc: for --help.
      make_ours, make_peer: make the sides of a case, whose name is a model's.
      argv: arguments; None: those of the process.
      shapes: of a step's images by the models that may be asked for.
      peers: those that may be asked for.
      default_peers: those that run where none is asked for.
    """
    parser = measure.parser(name, doc, repeats=15, width=None)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(shapes)}")
    parser.add_argument("--size", type=int, help="side of the images in pixels (the model's)")
    parser.add_argument("--batch", type=int, help="images a step (the model's)")
    parser.add_argument(
        "--peers", nargs="*", choices=peers, default=default_peers, help=f"default: {' '.join(default_peers)}"
    )
    parser.add_argument("--matrix", type=int, default=2048, help="side of the matrices for the rate (2048)")
    args = parser.parse_args(argv)
    if unknown := [model for model in args.models if model not in shapes]:
        parser.error(f"unknown model {unknown[0]!r}: known are {', '.join(shapes)}")
    cases = []
    for model in args.models or shapes:
        batch, size = shapes[model]
        cases.append(Case(model, 1.0, args.size or size, args.batch or batch, "float32"))
    env = measure.isolated(measure.environment) | {"onnxruntime": measure.version("onnxruntime")}
    report = measure.Report(name, env, {"repeats": args.repeats}, _columns(), args.out)
    compare.race_all(report, cases, make_ours, make_peer, args.peers, args.repeats, args.matrix)


def torch_twin(config: ConfigDict, weights: Weights) -> Any:
    """The same network in PyTorch with the same weights, in training mode.

    Args:
      config: `config.model`.
      weights: of the network.
    """
    from nucseg_jax.torch_bridge.twin import torch_twin as twin

    return twin(config.name, weights, num_classes=config.num_classes, width=config.width)


def _columns() -> dict[str, Callable[[dict[str, Any]], str]]:
    """Those of all networks, with the images and how far the results are apart."""
    first = {"model": COLUMNS["network"], "images": lambda r: f"{r['batch']} × {r['size']}²"}
    kept = {name: cell for name, cell in COLUMNS.items() if name not in ("network", "dtype")}
    return first | kept | {"difference": lambda r: shown(r["difference"], "{:.1e}")}
