"""A network's weights as named arrays, for files of other formats than a run's checkpoints."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from nucseg_jax.errors import UserError, in_short, listed
from nucseg_jax.models.network import Weights

Tensors = dict[str, NDArray[np.generic]]
"""By names such as params.encoder.stem.conv.kernel and batch_stats.encoder.stem.bn.mean."""

_REMEDY = "Take the release of nucseg_jax that wrote it, or the file of this network"


def to_tensors(weights: Weights) -> Tensors:
    """All arrays of a network by name: kernels in float16, vectors in float32.

    Vectors, such as a batch norm's variance, need more range than float16 has, and are small.

    Raises:
      UserError: a value is not finite, or a kernel has one that float16 cannot hold.
    """
    found: Tensors = {}
    for name, variable in named(weights).items():
        values = np.asarray(variable[...])
        if not np.isfinite(values).all():
            raise UserError(f"{name}: has values that are not finite. Take an earlier checkpoint (--step)")
        if values.ndim > 1:
            if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise UserError(
                    f"{name}: has values of up to {np.abs(values).max():g}, too large for float16"
                )
            values = values.astype(np.float16)
        found[name] = values
    return found


def from_tensors(tensors: Mapping[str, NDArray[np.generic]], template: Weights, where: str) -> Weights:
    """Named arrays → weights of a network.

    Args:
      tensors: as `to_tensors` gives them.
      template: shapes and dtypes of the network's weights.
      where: the arrays are from, for messages.

    Raises:
      UserError: names or shapes are not the network's, or a value is not finite.
    """
    expected = named(template)
    for name, variable in expected.items():
        if name not in tensors or tensors[name].shape != variable.shape:
            found = tensors[name].shape if name in tensors else "nothing"
            raise UserError(
                f"{where}: has {found} for {name}, whose shape is {variable.shape} in this release. {_REMEDY}"
            )
        if not np.isfinite(tensors[name]).all():
            raise UserError(f"{where}: {name} has values that are not finite. Save the model again")
    if unknown := tensors.keys() - expected.keys():
        raise UserError(
            f"{where}: has {listed([in_short(name, 80) for name in sorted(unknown)], 3)}, which the network "
            f"has not in this release. {_REMEDY}"
        )
    return filled(template, tensors)


def named(weights: Weights) -> dict[str, nnx.Variable[Any]]:
    """A network's variables by name, in the trees' order."""
    return {
        ".".join([tree, *map(str, path)]): variable
        for tree, state in weights._asdict().items()
        for path, variable in nnx.to_flat_state(state)
    }


def filled(template: Weights, values: Mapping[str, Any]) -> Weights:
    """Weights of a template's structure and dtypes, with values by name: one for each variable."""
    expected = named(template)
    trees = {}
    for tree, state in template._asdict().items():
        leaves = [
            jax.numpy.asarray(values[name], variable.dtype)
            for name, variable in expected.items()
            if name.startswith(f"{tree}.")
        ]
        trees[tree] = jax.tree.unflatten(jax.tree.structure(state), leaves)
    return Weights(**trees)
