"""What the benchmarks share: paired times, the matrix rate, device and versions, the table, the JSON."""

import argparse
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read when JAX first touches the GPU: by default it takes three quarters of the memory, also PyTorch's.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.cores import usable_cores
from nucseg_jax.devices import compilation_cache
from nucseg_jax.io.files import write_text

RESULTS = Path(__file__).parent / "results"
DTYPES = ("float32", "tf32", "bfloat16")
"""float32; on GPUs float32 arrays multiplied as TensorFloat-32; bfloat16 with float32 parameters."""

TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 5e-2}
"""How far two sides' results may be apart, as a part of the largest value."""

SAMPLE_SECONDS, REST_SECONDS = 0.5, 0.1
"""On CPUs: how long a sample of short steps takes, and the pause before it."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Side:
    """One of the programs that are compared.

    Attributes:
      run: one step; may return before the device is done.
      wait: returns when it is.
      release: gives memory that is not in use back to the device, for the other sides.
      result: what the last step gave, laid out as ours; None where the sides have different weights.
    """

    run: Callable[[], object]
    wait: Callable[[], object] = _nothing
    release: Callable[[], object] = _nothing
    result: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class Sampling:
    """How a sample of a side's time is taken: the mean of `steps`, after `settle` that are not counted.

    Before these comes a pause of `rest` seconds.
    """

    steps: int
    settle: int
    rest: float = 0.0

    def seconds(self, side: Side) -> float:
        """Seconds a step."""
        time.sleep(self.rest)
        for _ in range(self.settle):
            side.run()
        side.wait()
        start = time.perf_counter()
        for _ in range(self.steps):
            side.run()
        side.wait()
        seconds = (time.perf_counter() - start) / self.steps
        side.release()
        return seconds


def sampling(platform: str, step_seconds: float = math.inf) -> Sampling:
    """How to sample steps that take about so long.

    A GPU's steps are short, and the first ones get back the memory that the other side had. A CPU's short
    steps are repeated. The threads of the side before spin on for a while (ONNX Runtime's for 35 ms), and the
    caches hold its data: hence the pause and a step that is not counted.
    """
    if platform != "cpu":
        return Sampling(steps=10, settle=2)
    if step_seconds >= SAMPLE_SECONDS:
        return Sampling(steps=1, settle=0)
    return Sampling(steps=math.ceil(SAMPLE_SECONDS / step_seconds), settle=1, rest=REST_SECONDS)


def paired(sides: dict[str, Side], how: Sampling, repeats: int) -> dict[str, list[float]]:
    """Seconds a step of each side: a sample of each after the other, `repeats` times, back and forth.

    What slows the machine for a while so slows all of them. Warm the sides up before.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides) if repeat % 2 == 0 else reversed(sides):
            times[name].append(how.seconds(sides[name]))
    return times


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def ratios(ours: Sequence[float], peer: Sequence[float]) -> dict[str, float]:
    """Spread of ours / peer, pair by pair."""
    return spread([a / b for a, b in zip(ours, peer, strict=True)])


def difference(ours: Side, peer: Side, dtype: str) -> float | None:
    """The largest difference between the results of both sides' last steps, as a part of our largest value.

    Args:
      ours, peer: after as many steps.
      dtype: one of DTYPES, which says what is tolerated.

    Returns:
      None where one of them has no result to compare.

    Raises:
      AssertionError: they do not agree.
    """
    if ours.result is None or peer.result is None:
        return None
    expected, found = ours.result(), peer.result()
    largest, tolerance = np.abs(expected).max(), TOLERANCES[dtype]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest)
    return float(np.abs(found - expected).max() / largest)


def matrix_rate(dtype: str, side: int, repeats: int = 5) -> float:
    """FLOP/s of a product of two side×side matrices in `dtype` on JAX's first device: the median."""
    use_precision(dtype)
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (side, side), array_dtype(dtype)) for key in keys)
    product = jax.jit(jnp.matmul)
    out = [product(a, b)]
    how = sampling(jax.devices()[0].platform)

    def run() -> None:
        out[0] = product(a, b)

    matmul = Side(run, lambda: out[0].block_until_ready())
    matmul.wait()
    return 2 * side**3 / statistics.median(how.seconds(matmul) for _ in range(repeats))


def array_dtype(dtype: str) -> str:
    """One of DTYPES → the arrays' dtype."""
    return "float32" if dtype == "tf32" else dtype


def use_precision(dtype: str) -> None:
    """Make JAX multiply float32 arrays as `dtype` says; CPUs know one way only."""
    precision = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": None}[dtype]
    if jax.devices()[0].platform != "cpu":
        jax.config.update("jax_default_matmul_precision", precision)


def environment() -> dict[str, Any]:
    """Device, cores and versions."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind if device.platform != "cpu" else _cpu_name(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "flax", "torch")},
    }


def _cpu_name() -> str:
    try:
        names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def isolated(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args) in a process of its own, whose memory nothing before it has touched or fragmented."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_cache, function, args).result()


def _with_cache(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    compilation_cache.enable()
    return function(*args)


def parser(
    name: str, doc: str | None, repeats: int | None = None, width: float | None = 1.0
) -> argparse.ArgumentParser:
    """The options that every benchmark has; --repeats and --width where there is a default for them."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if repeats is not None:
        made.add_argument(
            "--repeats", type=int, default=repeats, help=f"pairs of samples (default {repeats})"
        )
    if width is not None:
        made.add_argument(
            "--width", type=float, default=width, help="of the networks; 1 is the published one"
        )
    made.add_argument("--out", type=Path, help=f"JSON file (default benchmarks/results/{name}_DEVICE.json)")
    return made


def held_bytes(key: str, process: int | None = None) -> int | None:
    """What a process holds in memory ("VmRSS"), or ever held ("VmHWM"); None where the system is not Linux.

    Not getrusage's: that also knows what the parent held when the process began.
    """
    path = Path(f"/proc/{process or 'self'}/status")
    if not path.exists():
        return None
    return int(path.read_text().partition(f"{key}:")[2].split()[0]) * 1024


class Report:
    """Prints a header and one table, row by row, and writes the JSON anew with each row.

    Args:
      name: the benchmark.
      env: see `environment`.
      settings: what was asked for.
      columns: heading → the cell of a row.
      out: the file; None: in benchmarks/results/.
    """

    def __init__(
        self,
        name: str,
        env: dict[str, Any],
        settings: dict[str, Any],
        columns: dict[str, Callable[[dict[str, Any]], str]],
        out: Path | None,
    ):
        slug = env["platform"] if env["platform"] == "cpu" else env["device"]
        slug = re.sub(r"[^a-z0-9]+", "_", slug.lower()).strip("_")
        self.path = out or RESULTS / f"{name}_{slug}.json"
        self._rows: list[dict[str, Any]] = []
        self._head = {"benchmark": name, "environment": env, "settings": settings}
        self._columns = columns
        packages = ("jax", "jaxlib", "flax", "torch", "onnxruntime", "python")
        versions = ", ".join(f"{k} {env[k] or '–'}" for k in packages if k in env)
        print(f"{name}: {env['device']} ({env['platform']}), {env['cores']} CPU cores and PyTorch threads")
        print(f"{versions}; " + ", ".join(f"{k} {v}" for k, v in settings.items()) + "\n")
        print("| " + " | ".join(columns) + " |\n|---" + "|---:" * (len(columns) - 1) + "|", flush=True)

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        print("| " + " | ".join(cell(row) for cell in self._columns.values()) + " |", flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(self._head | {"rows": self._rows}, indent=2) + "\n")


def shown(value: float | None, form: str = "{:.3g}") -> str:
    """A number, or – where there is none."""
    return "–" if value is None else form.format(value)


def shown_seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def shown_bytes(value: float | None) -> str:
    return shown(None if value is None else value / 1e9, "{:.2f} GB")


def shown_ratio(value: dict[str, float] | None) -> str:
    """Median (quartiles)."""
    return "–" if value is None else f"{value['median']:.2f} ({value['q1']:.2f}–{value['q3']:.2f})"
