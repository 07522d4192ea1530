"""What stain normalisation takes: the memory of a transform, the memory bandwidth of a batch of tiles."""

import ctypes
import gc
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.measure import Side
from benchmarks.stain_peers import Contest, Transform
from nucseg_jax.stain import Stains, VahadaneNormalizer, normalization

ARRAY_BYTES = 2**30
"""Size of the array that gives the bandwidth; on CPUs a quarter of it."""


def memory(contest: Contest, target: np.ndarray, image: np.ndarray, repeats: int) -> dict[str, Any]:
    """Memory of our transform and of the peer's, each in a process of its own."""
    ours = measure.isolated(transform_memory, contest.ours, target, image, repeats)
    try:
        peer = contest.make and measure.isolated(transform_memory, contest.make, target, image, repeats)
    except ImportError:
        peer = None
    ratio = ours / peer if ours and peer else None
    return {"memory_bytes": ours, "peer_memory_bytes": peer, "memory_ratio": ratio}


def transform_memory(
    make: Callable[[np.ndarray, np.ndarray], Transform], target: np.ndarray, image: np.ndarray, repeats: int
) -> int | None:
    """How far `repeats` transforms raise this process's resident set, at its highest: bytes.

    None where the system is not Linux.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    transform = make(target, image)
    gc.collect()
    _trim()
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is from now on what it is now
    before = measure.held_bytes("VmRSS")
    for _ in range(repeats):
        transform(image)
    most = measure.held_bytes("VmHWM")
    return None if most is None or before is None else most - before


def _trim() -> None:
    """Give back to the system what the fit has left, so that it counts when it is used again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim:
        trim(0)


def batch(target: np.ndarray, image: np.ndarray, count: int, side: int, repeats: int) -> list[dict[str, Any]]:
    """`count` tiles of the image on the device, stains sought and given. Called in a process of its own."""
    normalizer = VahadaneNormalizer().fit(target)
    source = normalizer.estimate(image).style
    tiles = jax.device_put(cut(image, count, side))
    bandwidth = memory_bandwidth(repeats)
    rows = []
    for given in (False, True):
        seconds = _times(_jitted(normalizer, source if given else None, tiles), tiles, repeats)
        median = statistics.median(seconds)
        rows.append(
            {
                "given": given,
                "seconds": measure.spread(seconds),
                "images_per_second": count / median,
                "megapixels_per_second": count * side**2 / median / 1e6,
                "tiles": f"{count}×{side}×{side}",
                "bandwidth_bytes_per_second": bandwidth,
                "bandwidth_share": 2 * tiles.nbytes / median / bandwidth,
            }
        )
    return rows


def cut(image: np.ndarray, count: int, side: int) -> np.ndarray:
    """uint8 [count, side, side, 3]: tiles from random places of an image."""
    generator = np.random.default_rng(0)
    highest = np.array(image.shape[:2]) - side
    places = generator.integers(0, highest, (count, 2), endpoint=True)
    return np.stack([image[top : top + side, left : left + side] for top, left in places])


def memory_bandwidth(repeats: int) -> float:
    """Bytes that the device reads and writes a second where it adds 1 to a large array in place: the median.

    In place, as a CPU would be busy with finding pages for a second array.
    """
    size = ARRAY_BYTES // (4 if jax.devices()[0].platform == "cpu" else 1)
    array = jnp.zeros(size // 4, jnp.float32)
    return 2 * size / statistics.median(_times(jax.jit(lambda x: x + 1, donate_argnums=0), array, repeats))


def _jitted(
    normalizer: VahadaneNormalizer, source: Stains | None, tiles: jax.Array
) -> Callable[[jax.Array], jax.Array]:
    """A step that restains the tiles, uint8 → uint8 on the device; it does not look at what the last gave."""

    @jax.jit
    def restain(images: jax.Array) -> jax.Array:
        done = normalization.normalize(normalizer.method, images, normalizer.target, source).images
        return jnp.clip(jnp.round(done), 0, 255).astype(jnp.uint8)

    return lambda _: restain(tiles)


def _times(step: Callable[[jax.Array], jax.Array], start: jax.Array, repeats: int) -> list[float]:
    """Seconds a step of each sample; a step gets what the last one gave."""
    latest = [step(start)]

    def run() -> None:
        latest[0] = step(latest[0])

    side = Side(run, lambda: latest[0].block_until_ready())
    side.wait()
    how = measure.sampling(jax.devices()[0].platform)
    return [how.seconds(side) for _ in range(repeats)]
