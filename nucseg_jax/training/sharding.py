"""What each device holds of a training's state in part only (`config.shard`).

Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (SC 2020): each
device updates its part of the parameters, with its part of the optimizer's state. The result is that of
devices which hold all, to float rounding.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from nucseg_jax import devices

Loss = Callable[..., tuple[jax.Array, Any]]
"""(params, …) → (loss, what else it finds)."""


class Sharding(NamedTuple):
    """What is held in parts (`devices.partition`). Batch statistics never are.

    Attributes:
      optimizer: the optimizer's state and the moving average of the parameters.
      parameters: the parameters, too. Each step gathers them. (To gather them again for the backward pass
        saved nothing: see docs/scaling.md.)
    """

    optimizer: bool = False
    parameters: bool = False

    @classmethod
    def of(cls, name: str) -> "Sharding":
        """By the names that `config.shard` takes."""
        return {"none": cls(), "optimizer": cls(True), "parameters": cls(True, True)}[name]

    def updated(self, tree: Any) -> Any:
        """In the step: parameters, gradients or the optimizer's state as their update takes them."""
        return devices.in_parts(tree) if self.optimizer else tree

    def kept(self, params: Any) -> Any:
        """In the step: parameters after their update as the state keeps them."""
        return devices.whole(params) if self.optimizer and not self.parameters else params

    def gradients(self, loss_of: Loss, params: Any, *others: Any) -> tuple[Any, Any]:
        """In the step: `jax.grad` of a loss, and what else it finds.

        Args:
          loss_of: of parameters and `others`.
          params: as the state keeps them.
          others: not differentiated.
        """
        if not self.optimizer:
            return jax.grad(loss_of, has_aux=True)(params, *others)
        # Both are whole here: else the compiler cuts the network's products where it sees parts.
        found, aux = jax.grad(loss_of, has_aux=True)(devices.whole(params), *others)
        return self.updated(devices.whole(found)), aux

    def shapes(self, mesh: Mesh, params: Any, *, are_trained: bool) -> Any:
        """Shapes of parameters, or of the optimizer's state, with their placement.

        Args:
          mesh: where they go.
          params: arrays or shapes.
          are_trained: they are the parameters themselves.
        """
        in_parts = self.parameters if are_trained else self.optimizer

        def leaf(x: Any) -> jax.ShapeDtypeStruct:
            placement = devices.partition(mesh, x.shape) if in_parts else devices.replicated(mesh)
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement)

        return jax.tree.map(leaf, params)


def whole_bytes(tree: Any) -> int:
    """What a device would hold of arrays, or of shapes, if it held all."""
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))


def shown_sharing(name: str, shapes: Any) -> str:
    """A line that says what a device holds.

    Args:
      name: of `config.shard`.
      shapes: of the state, with its placement.
    """
    held, size = devices.bytes_on_device(shapes) / 1e6, whole_bytes(shapes) / 1e6
    return f"shard = {name}: each device holds {held:,.1f} of the state's {size:,.1f} MB"
