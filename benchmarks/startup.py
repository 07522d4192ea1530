"""Seconds from the command to the end of the first training step, beside PyTorch; and of the imports.

python -m benchmarks.startup [NETWORK …]

Each start is a process of its own (`benchmarks.startup_worker`): interpreter, imports, network, compilation,
one step. Cold: with an empty compilation cache; warm: with what the cold start left in it, as every later run
finds it. The peer is PyTorch as written (no `torch.compile`), without the time that our module of PyTorch
networks takes to import JAX. Medians. The last rows are `python -c "import …"`, beside `import torch`.

It needs all packages of nucseg_jax, as training does; without PyTorch its column is empty.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.compare import PUBLISHED
from benchmarks.measure import shown, shown_seconds

IMPORTS = ("nucseg_jax", "nucseg_jax.models", "nucseg_jax.training.train")

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "start": lambda r: f"`{r['start']}`",
    "cold": lambda r: shown_seconds(r["cold"]),
    "warm": lambda r: shown_seconds(r["warm"]),
    "PyTorch": lambda r: shown_seconds(r["torch"]),
    "cold ÷ PyTorch": lambda r: shown(_ratio(r["cold"], r["torch"]), "{:.2f}"),
    "warm ÷ PyTorch": lambda r: shown(_ratio(r["warm"], r["torch"]), "{:.2f}"),
}


def _ratio(ours: float | None, peer: float | None) -> float | None:
    return None if ours is None or peer is None else ours / peer


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("startup", __doc__, repeats=3)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: the published ones")
    parser.add_argument("--size", type=int, help="side of the images in pixels (256; on GPUs 512)")
    parser.add_argument("--batch", type=int, help="images a step (2; on GPUs 16)")
    parser.add_argument("--dtype", choices=measure.DTYPES, help="(float32; on GPUs bfloat16)")
    args = parser.parse_args(argv)
    env = measure.isolated(measure.environment)
    size, batch, dtype = (256, 2, "float32") if env["platform"] == "cpu" else (512, 16, "bfloat16")
    settings = {
        "size": args.size or size,
        "batch": args.batch or batch,
        "dtype": args.dtype or dtype,
        "width": args.width,
        "repeats": args.repeats,
    }
    report = measure.Report("startup", env, settings, COLUMNS, args.out)
    for name in args.networks or PUBLISHED:
        report.add(starts(name, settings))
    peer = import_seconds("torch", args.repeats)
    for module in IMPORTS:
        seconds = import_seconds(module, args.repeats)
        report.add({"start": f"import {module}", "cold": None, "warm": seconds, "torch": peer})


def starts(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The row of one network."""
    values = [name, *(str(settings[key]) for key in ("width", "size", "batch", "dtype"))]
    runs: dict[str, list[dict[str, float]]] = {"cold": [], "warm": [], "torch": []}
    for _ in range(settings["repeats"]):
        with tempfile.TemporaryDirectory() as home:
            for kind in runs:
                framework = "torch" if kind == "torch" else "jax"
                stages = start([sys.executable, "-m", "benchmarks.startup_worker", framework, *values], home)
                if stages:
                    runs[kind].append(stages)
    medians = {kind: _median([s["total"] for s in stages]) for kind, stages in runs.items()}
    return {"start": name, **medians, "stages": runs}


def import_seconds(module: str, repeats: int) -> float | None:
    """Median time of an interpreter that imports it, after one that reads it from a cold disk."""
    command = [sys.executable, "-c", f"import {module}"]
    times = [s["total"] for _ in range(repeats + 1) if (s := start(command, home=None))]
    return _median(times[1:])


def start(command: Sequence[str], home: str | None) -> dict[str, float] | None:
    """Seconds of a process: in total, and what it says of its stages.

    None where a package is missing: a line says which.

    Args:
      command: may print one JSON object.
      home: folder of the compilation cache.

    Raises:
      subprocess.CalledProcessError: it failed otherwise.
    """
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    if home:
        environment["XDG_CACHE_HOME"] = home
    begin = time.perf_counter()
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    total = time.perf_counter() - begin
    if done.returncode:
        if missing := re.search(r"ModuleNotFoundError: (.*)", done.stderr):
            print(f"not measured: {missing[1]}, which {' '.join(command[1:4])} needs", file=sys.stderr)
            return None
        sys.stderr.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, list(command))
    stages = json.loads(done.stdout) if done.stdout.strip() else {}
    return stages | {"total": total - stages.get("excluded", 0.0)}


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


if __name__ == "__main__":
    main()
