"""A trained network for inference, from a checkpoint's `info` and its weights."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from nucseg_jax import devices
from nucseg_jax.errors import UserError, in_short
from nucseg_jax.models import create_model
from nucseg_jax.models.network import FunctionalNetwork, InputFormat, Weights, split_network
from nucseg_jax.runs import stain_target
from nucseg_jax.runs.tensors import from_tensors
from nucseg_jax.stain import StainNormalizer


@dataclass(frozen=True)
class LoadedModel:
    """A trained network as it was saved.

    Attributes:
      network: its forward passes.
      params, batch_stats: its weights, replicated over the mesh.
      step: training step of the checkpoint.
      info: the checkpoint's `info` item.
      stain: normalises an image before the network gets it; None where that is not needed (the network was
        trained without, or does it itself) or not known (runs of version 0.1.0 and converted ones).
    """

    network: FunctionalNetwork
    params: nnx.State
    batch_stats: nnx.State
    step: int
    info: dict[str, Any]
    stain: StainNormalizer | None

    @property
    def weights(self) -> Weights:
        return Weights(self.params, self.batch_stats)


def model_of_tensors(
    tensors: Mapping[str, NDArray[np.generic]], info: dict[str, Any], step: int, mesh: Mesh, where: str
) -> LoadedModel:
    """A trained network from named arrays (`runs.tensors`).

    Args:
      tensors: its weights.
      info: of the checkpoint that they were taken from.
      step: of it.
      mesh: where the weights go.
      where: the arrays are from, for messages.

    Raises:
      UserError: they are another network's, or `info` is not one that this release understands.
    """
    with understood(where):
        network, template = network_of(info)
    weights = devices.replicate(mesh, from_tensors(tensors, template, where))
    with understood(where):
        before = stain_target.before_network(info.get("stain"))
    return LoadedModel(network, weights.params, weights.batch_stats, step, info, before)


@contextlib.contextmanager
def understood(where: str) -> Iterator[None]:
    """Raise UserError where the block finds something else in a model's `info` than it must have.

    Args:
      where: the model is from, for messages.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}. Take the release of nucseg_jax that wrote it") from error
    except Exception as error:  # values of other types, keys that are missing
        raise UserError(
            f"{where}: holds no model that this release understands ({in_short(error)}). Take the release "
            "that wrote it, or save it again with `nucseg models save`"
        ) from error


def network_of(info: Mapping[str, Any]) -> tuple[FunctionalNetwork, Weights]:
    """The network that `info` describes, and shapes and dtypes of its weights."""
    model = info["config"]["model"]

    def build() -> nnx.Module:
        return create_model(
            model["name"],
            num_classes=model["num_classes"],
            width=model["width"],
            dtype=model["dtype"],
            rngs=nnx.Rngs(params=0, dropout=0),
        )

    input_format = InputFormat(
        model["channel_order"], model.get("input_scale", 1.0), stain_target.in_network(info.get("stain"))
    )
    network, params, batch_stats = split_network(nnx.eval_shape(build), input_format)
    return network, Weights(params, batch_stats)
