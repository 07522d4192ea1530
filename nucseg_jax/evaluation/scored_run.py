"""A run on the images of a dataset: the engine as users have it, on images whose nuclei are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from nucseg_jax.data import dataset_name
from nucseg_jax.data.annotation import check_annotated, check_nuclei
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.errors import DataError
from nucseg_jax.inference import trained
from nucseg_jax.inference.examples import ExampleSource
from nucseg_jax.inference.magnification import of_checkpoint
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.instances import NucleusMap
from nucseg_jax.nuclei import Frame
from nucseg_jax.runs import Run, experiment_of
from nucseg_jax.runs.unseen import check_unseen


class ScoredRun:
    """A run that segments some of a dataset's images.

    Args:
      run: with the choices of evaluation made.
      mesh: where its weights are.
      dataset: prepared.
      examples: of it, which the run was not trained on.
      keep_boundary: maps have the network's boundaries; None: where the run's method looks at them.

    Attributes:
      notes: what a user should be told.
      network_mpp: µm a pixel of the maps.

    Raises:
      UserError: the run was trained on some of the images, or none of them has a nucleus.
      DataError: the engine must take the prepared images, and these have other stains than in training; or an
        image has no annotated pixel.
    """

    def __init__(
        self,
        run: Run,
        mesh: Mesh,
        dataset: Dataset,
        examples: Sequence[Example],
        *,
        keep_boundary: bool | None = None,
    ):
        unknown = check_unseen(run.workdir, run.model.info, dataset, examples)
        self._source = ExampleSource.of(dataset, examples, has_target=not run.lacks_target)
        if self._source.prepared:
            _check_same_stains(run, dataset)
        own = _own_dataset(run)
        # A run that records no resolution has that of the dataset it was trained on.
        known = run.model.info.get("resolution") or own not in (None, dataset.name)
        magnification = (
            of_checkpoint(run.model.info, where=str(run.workdir)) if known else self._source.magnification
        )
        self._run, self._dataset = run, dataset
        self._segmenter = Segmenter(
            *trained.of_run(
                run, mesh, magnification, prepared=self._source.prepared, keep_boundary=keep_boundary
            )
        )
        self.network_mpp = magnification.network_mpp
        assumed = f"{dataset.name}: {dataset.mpp:g} µm a pixel ({dataset.mpp_source})"
        notes = [*run.notes, unknown, assumed if dataset.mpp_assumed else None]
        notes.append(check_nuclei(dataset.name, "images", examples))
        notes.append(check_annotated(dataset.name, "images", examples))
        if own not in (None, dataset.name):
            notes.append(f"{run.workdir}: was trained on {own}, and is scored on {dataset.name}")
        if self._source.prepared and not run.lacks_target:
            notes.append(f"{dataset.name}: is packed without these originals: prepared images are taken")
        self.notes = tuple(note for note in notes if note is not None)

    def label_map(self, example: Example) -> NDArray[np.int32]:
        """The nuclei of an image: int32 [H, W] of the original."""
        with self._source.slide(example) as slide:
            return self._segmenter.label_map(slide, self.frame(example))

    def nucleus_map(self, example: Example) -> NucleusMap:
        """What the network says of an image, at the network's level."""
        with self._source.slide(example) as slide:
            return self._segmenter.nucleus_map(slide)

    def nuclei(self, example: Example, nucleus_map: NucleusMap) -> NDArray[np.int32]:
        """The nuclei of an image of which the map is known: as `label_map`."""
        return self.frame(example).label_map(self._segmenter.cut(nucleus_map))

    def frame(self, example: Example) -> Frame:
        """Where the nuclei of an image lie."""
        return self._source.frame(example, self.network_mpp)

    def settings(self) -> dict[str, Any]:
        """All that the result depends on beside the weights."""
        pixels = "prepared images" if self._source.prepared else "original images"
        target = (self._run.model.info.get("stain") or {}).get("target")
        if not self._source.prepared and self._run.model.stain is not None:
            pixels += f", normalised to {target}"
        return {
            **self._run.settings(),
            "pixels": pixels,
            "mpp": self._dataset.mpp,
            "network_mpp": self.network_mpp,
        }


def _own_dataset(run: Run) -> str | None:
    """The name of the dataset that a run was trained on; None for one that was converted."""
    if "converted_from" in run.model.info:
        return None
    return dataset_name(experiment_of(run.model.info)[0].data)


def _check_same_stains(run: Run, dataset: Dataset) -> None:
    """Raise DataError where prepared images have other stains than those that were trained on."""
    trained = run.model.info.get("dataset") or {}
    for key, what in (("stain_backend", "backend"), ("stain_style", "target")):
        before, now = trained.get(key), dataset.metadata.get(key)
        if before is not None and before != now:
            raise DataError(
                f"{dataset.name}: its stains were normalised with another {what} than those that "
                f"{run.workdir} was trained on. Prepare it as the training images were"
            )
