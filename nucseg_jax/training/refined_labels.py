"""Soft labels of the training images: made of annotations, predicted, kept in files.

A label tree has for each image's id its arrays by name, float16[H,W,C] with C probabilities a pixel:
`soft_classes`, and `soft_edges` (no edge, edge) for a network with an edge branch.
"""

import functools
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nucseg_jax.data.dataset import Example
from nucseg_jax.data.rasters import Rasters
from nucseg_jax.errors import DataError, in_short
from nucseg_jax.inference.class_probabilities import ClassProbabilities
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.io.files import replacing_folder
from nucseg_jax.models.network import FunctionalNetwork, Weights
from nucseg_jax.models.targets import EDGE_CLASSES, class_map, edge_map
from nucseg_jax.training.objectives import SOFT_CLASSES, SOFT_EDGES

LabelTree = Mapping[str, Mapping[str, np.ndarray]]
"""{image id: {name: probabilities [H,W,C]}}."""


def annotated(examples: Sequence[Example], num_classes: int, names: Sequence[str]) -> LabelTree:
    """The annotation as soft labels: 1 for what a pixel is annotated as, 0 for all else, float16.

    Pixels that nobody annotated are background here, and stay in the averages. Training ignores them by the
    raster `unannotated`, whatever the cycle.
    """
    return {
        e.id: {name: np.asarray(_one_hot(e.label_map, num_classes, name)) for name in names} for e in examples
    }


@functools.partial(jax.jit, static_argnums=(1, 2))
def _one_hot(label_map: jax.Array, num_classes: int, name: str) -> jax.Array:
    if name == SOFT_EDGES:
        return jax.nn.one_hot(edge_map(label_map[None])[0], EDGE_CLASSES, dtype=jnp.float16)
    return jax.nn.one_hot(class_map(label_map[None], num_classes)[0], num_classes, dtype=jnp.float16)


class LabelPredictor:
    """Predicts soft labels of training images, tile by tile.

    Args:
      network: its forward passes.
      mesh: tiles are split over its devices.
      num_classes: of the network's result.
      names: which labels.
      tilings: that images may be looked at in.
      batch_px: pixels that are worked on at once, at least a tile.
    """

    def __init__(
        self,
        network: FunctionalNetwork,
        mesh: Mesh,
        *,
        num_classes: int,
        names: Sequence[str],
        tilings: Sequence[Tiling],
        batch_px: int,
    ):
        self._channels = {n: {SOFT_CLASSES: num_classes, SOFT_EDGES: EDGE_CLASSES}[n] for n in names}
        self._probabilities = ClassProbabilities(
            _branch_probabilities(network, names), mesh, tilings=tilings, batch_px=batch_px
        )

    def __call__(self, weights: Weights, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """What the network says of uint8[H,W,3]: float32[H,W,C] by name."""
        stacked = self._probabilities(weights, image)
        ends = np.cumsum(list(self._channels.values()))[:-1]
        return dict(zip(self._channels, np.split(stacked, ends, axis=-1), strict=True))


def _branch_probabilities(
    network: FunctionalNetwork, names: Sequence[str]
) -> Callable[[Weights, jax.Array], jax.Array]:
    """The probabilities of all named branches, one after the other along the channels."""

    def probabilities(weights: Weights, images: jax.Array) -> jax.Array:
        logits = network.branches(*weights, images)
        branches: dict[str, Any] = {SOFT_CLASSES: logits.classes, SOFT_EDGES: logits.edge}
        return jnp.concatenate([jax.nn.softmax(branches[name]) for name in names], axis=-1)

    return probabilities


def rasters_of(labels: LabelTree, examples: Sequence[Example], names: Sequence[str]) -> Rasters:
    """A label tree as training cuts patches from it, in the order of `examples`."""
    return {name: [labels[e.id][name] for e in examples] for name in names}


def changed(labels: LabelTree, examples: Sequence[Example], num_classes: int) -> float:
    """The part of the annotated pixels that the labels now take for another class than the annotation."""
    different = []
    for e in examples:
        annotation = annotated([e], num_classes, (SOFT_CLASSES,))[e.id]
        pair = [x[SOFT_CLASSES].argmax(-1) for x in (labels[e.id], annotation)]
        is_other = pair[0] != pair[1]
        different.append(np.mean(is_other if e.unannotated is None else is_other[~e.unannotated]))
    return float(np.mean(different))


def write(labels: LabelTree, folder: Path) -> None:
    """Write FOLDER/ID.npz, all or none; an older folder is replaced."""
    with replacing_folder(folder) as temporary:
        for image_id, arrays in labels.items():
            np.savez(temporary / f"{image_id}.npz", **arrays)  # type: ignore[arg-type]  # NumPy 2.0 has no other


def delete_others(parent: Path, kept: Collection[Path]) -> None:
    """Delete the folders in `parent` but those to keep: what `write` wrote, or a kill left half-written."""
    for folder in set(parent.iterdir()) - set(kept):
        shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path, examples: Sequence[Example], names: Sequence[str]) -> LabelTree:
    """Read what `write` wrote.

    Raises:
      DataError: a file is missing or damaged, or is not of the image as it is now.
    """
    return {e.id: _read(folder / f"{e.id}.npz", e, names) for e in examples}


def _read(path: Path, example: Example, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    remedy = "Start the run again in another --workdir"
    try:
        # Opened here: NumPy leaves a file that is no archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names}
    except Exception as error:  # archives and NumPy's headers fail in many ways where they are damaged
        raise DataError(
            f"{path}: these refined labels cannot be read ({in_short(error)}). {remedy}"
        ) from error
    for array in arrays.values():
        if not _are_labels(array):
            raise DataError(f"{path}: these refined labels cannot be read (they are no labels). {remedy}")
        if array.shape[:2] != example.size:
            raise DataError(
                f"{path}: is of an image of {array.shape[0]}×{array.shape[1]} pixels, {example.id} has "
                f"{example.size[0]}×{example.size[1]}. {remedy}"
            )
    return arrays


def _are_labels(array: object) -> bool:
    """Whether it is float16 [H, W, classes], each from 0 to 1."""
    if not (isinstance(array, np.ndarray) and array.dtype == np.float16 and array.ndim == 3 and array.size):
        return False
    return bool(array.min() >= 0 and array.max() <= 1)  # not of NaN
