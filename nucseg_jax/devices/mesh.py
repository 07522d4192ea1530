"""The mesh: which devices there are and where arrays live.

Data parallelism: parameters are replicated, batches are split along their first axis over the one mesh
axis `data`. The compiler inserts the collectives, so that N devices compute what one would. What training
alone needs may be split, too (`partition`).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nucseg_jax.devices.platform import traced_for

_traced_over = jax.make_user_context(None)
"""`with _traced_over(mesh): …`: programs traced in the block have batches split over this mesh."""


def make_mesh() -> Mesh:
    """All devices of all processes on one axis."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def own_mesh() -> Mesh:
    """The devices of this process on one axis, for what it computes without the others."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def compiler_options(mesh: Mesh) -> dict[str, str]:
    """XLA's options for a step that rematerialises.

    On CPUs XLA takes out the barriers that keep a recomputation apart from the first computation, merges
    both, and so keeps in memory what should have been computed again.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if on_cpu else {}


def jit(
    mesh: Mesh, function: Callable[..., Any], *, out_shardings: Any = None, **options: Any
) -> jax.stages.Wrapped:
    """`jax.jit` of a function for a mesh: written for its platform.

    Args:
      mesh: where the arguments are; batches are split over it (`by_device`, `sharing`).
      function: of arrays.
      out_shardings: of `jax.jit`; None: the results are whole on all devices.
      options: of `jax.jit`.
    """
    out_shardings = replicated(mesh) if out_shardings is None else out_shardings
    platform = mesh.devices.flat[0].platform

    # A partial function has no name, and programs are named by functions.
    @functools.wraps(function.func if isinstance(function, functools.partial) else function)
    def on_platform(*arguments: Any) -> Any:
        with traced_for(platform), _traced_over(mesh):
            return function(*arguments)

    return jax.jit(on_platform, out_shardings=out_shardings, **options)


def sharing(rows: int) -> int:
    """How many devices share so many rows of a batch, in equal parts, in the program that is being traced.

    1 where that is not known: in programs that are not traced by `jit`, and where parts are not equal.
    """
    mesh = traced_mesh()
    return mesh.devices.size if mesh is not None and rows % mesh.devices.size == 0 else 1


def by_device(function: Callable[[jax.Array], Any], batch: jax.Array) -> Any:
    """A function of a batch, computed by each device of its own rows, so that none waits for another.

    The compiler alone would make a loop that ends when all rows are done end on all devices at once, which
    takes them a message a round.

    Args:
      function: of arrays [B,…] for any B → the same; what it makes of a row depends on that row alone.
      batch: [B,…], split over the devices along its first axis.
    """
    if sharing(batch.shape[0]) == 1:
        return function(batch)
    return _each_its_own(function)(batch)


def sum_by_device(function: Callable[..., jax.Array], *batches: jax.Array) -> jax.Array:
    """The sum over the rows of batches: each device sums its own, then all exchange the result once.

    The compiler alone would send a message in each round of a loop that adds up. Rounds of loops wait for
    nothing else, so that devices could wait for each other in different messages, and for ever.

    Args:
      function: of arrays [B,…] for any B → a sum over their rows.
      batches: [B,…], split over the devices along their first axis.
    """
    if sharing(batches[0].shape[0]) == 1:
        return function(*batches)
    return _each_its_own(lambda *own: function(*own)[None])(*batches).sum(0)


def _each_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of batches, of which each device gets its rows and makes rows of the result."""
    rows = PartitionSpec("data")
    # What a loop carries is each device's own, though it begins alike on all: JAX's check would refuse that.
    return jax.shard_map(function, mesh=traced_mesh(), in_specs=rows, out_specs=rows, check_vma=False)


def traced_mesh() -> Mesh | None:
    """The mesh of the program that is being traced; None where `jit` does not trace it."""
    mesh: Mesh | None = _traced_over.value
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """A copy of every array on every device. Each process passes the same values."""
    return jax.tree.map(lambda x: _from_host(replicated(mesh), np.asarray(x)), tree)


def on_own_mesh(mesh: Mesh, tree: Any) -> Any:
    """Arrays that all devices of all processes hold whole → the same on `own_mesh`; nothing is copied."""
    if jax.process_count() == 1:
        return tree

    def own(array: jax.Array) -> jax.Array:
        parts = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, replicated(mesh), parts)

    return jax.tree.map(own, tree)


def place(tree: Any, shapes: Any) -> Any:
    """Arrays that every process holds whole, placed as `shapes` say (`jax.ShapeDtypeStruct`)."""
    return jax.tree.map(lambda x, shape: _from_host(shape.sharding, np.asarray(x)), tree, shapes)


def split_batch(mesh: Mesh, arrays: Any) -> Any:
    """Host arrays that every process holds whole → arrays split over the devices.

    The first axis must be a multiple of the device count.
    """
    return jax.tree.map(lambda x: _from_host(split(mesh), x), arrays)


def gather_shares(mesh: Mesh, share: Any) -> Any:
    """Each process's own rows of a batch (see `local_rows`) → one global batch split over the devices."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(split(mesh), x), share)


def local_rows(batch_size: int) -> slice:
    """The rows of a global batch that this process feeds; `batch_size` is a multiple of the devices.

    Where the mesh does not follow the order of the processes (some TPU pods), the rows come to lie in
    another order in the global batch, each still once.
    """
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def _from_host(sharding: NamedSharding, array: np.ndarray) -> jax.Array:
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
