"""One start, for `benchmarks.startup`: what `nucseg_jax.main` does from the command to the first step.

python -m benchmarks.startup_worker jax|torch NETWORK WIDTH SIZE BATCH DTYPE

Prints the seconds of its stages as JSON.
"""

import json
import sys
import time

from nucseg_jax.cli.large_pages import start_again


class Stages:
    """Seconds since the last call, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def start_jax(values: list[str]) -> dict[str, float]:
    """What `training.train` does: weights are drawn in another thread while the step is compiled."""
    stages = Stages()
    import jax

    from benchmarks import measure, ours
    from nucseg_jax import devices
    from nucseg_jax.config import get_config
    from nucseg_jax.devices import compilation_cache
    from nucseg_jax.training import start

    compilation_cache.enable()
    stages.end("import")
    case, optimizer = _case(values), ours.make_optimizer()
    measure.use_precision(case.dtype)
    config = get_config()
    config.model.update(name=case.name, width=case.width, dtype=measure.array_dtype(case.dtype))
    begun = start.fresh(config, ours.one_device(), optimizer, ours.GIVEN)
    batch = devices.split_batch(ours.one_device(), case.arrays())
    stages.end("network")
    step = ours.make_step(begun.network, optimizer)
    compiled = step.lower(begun.shapes, batch).compile()
    stages.end("compile")
    state = begun.state()
    stages.end("state")
    jax.block_until_ready(compiled(state, batch))
    stages.end("step")
    return stages.seconds


def start_torch(values: list[str]) -> dict[str, float]:
    stages = Stages()
    import nucseg_jax.models  # noqa: F401 - JAX and Flax: what our bridge needs, and PyTorch does not
    from benchmarks import peers

    case = _case(values)
    stages.end("excluded")
    import torch

    stages.end("import")
    side = peers.training(case, "eager", "gpu" if torch.cuda.is_available() else "cpu")
    stages.end("state")
    side.run()
    side.wait()
    stages.end("step")
    return stages.seconds


def _case(values: list[str]):  # type: ignore[no-untyped-def] # its module imports JAX
    from benchmarks.ours import Case

    name, width, size, batch, dtype = values
    return Case(name, float(width), int(size), int(batch), dtype)


if __name__ == "__main__":
    framework, *rest = sys.argv[1:]
    if framework == "jax":
        start_again(sys.argv[1:])  # as `nucseg train` does
    print(json.dumps({"jax": start_jax, "torch": start_torch}[framework](rest)))
