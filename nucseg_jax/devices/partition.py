"""Arrays in parts: each device holds one part of a weight or of an optimizer's state, instead of a copy.

A part is a slice along one axis, so that the devices' parts together are the array. Which axis follows from
the array's shape and the number of devices alone: arrays of one shape are cut alike.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from nucseg_jax.devices.mesh import replicated, traced_mesh

SMALLEST = 1024
"""Values from which on an array is cut: of smaller ones the messages would cost more than the memory."""


def partition(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """How an array is cut over a mesh: along its longest axis of those that the devices divide.

    Replicated where the devices divide no axis, and where it is small.
    """
    count = mesh.devices.size
    axes = [axis for axis, length in enumerate(shape) if length and length % count == 0]
    if count == 1 or not axes or math.prod(shape) < SMALLEST:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))


def in_parts(tree: Any) -> Any:
    """In a program that `jit` traces: the same arrays, of which each device has its part (`partition`)."""
    mesh = traced_mesh()
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, jax.tree.map(lambda x: partition(mesh, x.shape), tree))


def whole(tree: Any) -> Any:
    """In a program that `jit` traces: the same arrays, of which each device has all."""
    mesh = traced_mesh()
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, replicated(mesh))


def gather(tree: Any) -> Any:
    """Arrays whole on every device of the mesh that they are cut over; all processes must ask.

    Where all are whole already, they are returned as they are.
    """
    cut = [x for x in jax.tree.leaves(tree) if not _is_whole(x)]
    return jax.jit(_same, out_shardings=replicated(cut[0].sharding.mesh))(tree) if cut else tree


def on_host(array: Any) -> NDArray[Any]:
    """All of an array in this process's memory; all processes must ask."""
    if isinstance(array, jax.Array) and array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def bytes_on_device(tree: Any) -> int:
    """What a device holds of arrays, or of shapes with their placement."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree)
    )


def _is_whole(array: Any) -> bool:
    return not isinstance(array, jax.Array) or array.is_fully_replicated


def _same(tree: Any) -> Any:
    return tree
