"""A trained network finds nuclei: `Segmenter.from_pretrained()(image)`; those of slides come as a stream."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from numpy.typing import NDArray

from nucseg_jax import instances, pretrained
from nucseg_jax.cores import usable_cores
from nucseg_jax.errors import UserError, shown
from nucseg_jax.inference import trained
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.inference.opened import Opened, opened
from nucseg_jax.inference.planes import map_of_planes
from nucseg_jax.inference.scan import Network, Scan
from nucseg_jax.inference.segmentation import SMALL_PX, Segmentation, Setup
from nucseg_jax.inference.trained import Trained
from nucseg_jax.inference.windows import Windows
from nucseg_jax.inference.workers import processes
from nucseg_jax.instances import NucleusMap
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.regions import Regions
from nucseg_jax.slides import Slide

BLOCK_PX = 1024
"""Side of the blocks that nuclei of large slides are cut in; the result does not depend on it."""

_MOST_READERS = 8


class Segmenter:
    """Finds nuclei with a trained network.

    ``label_map = Segmenter.from_pretrained()("tissue.png")`` with a model that is installed,
    ``Segmenter.load("runs/unet_small")`` with one of your own; of a slide
    ``with open_slide("a.svs") as slide: for nucleus in segmenter.stream(slide): …``

    Args:
      network, instances, magnification, facts, notes: see `trained.Trained`.
      workers: processes that cut nuclei of large slides while the device computes, and make the text of
        files that they are exported to; 0: a thread cuts, and none helps to export.
      block_px: side of the blocks that nuclei of large slides are cut in.
      small_px: pixels of the network's level up to which a slide is segmented at once, in memory.

    Attributes:
      magnification, facts, notes: as given.
    """

    def __init__(
        self,
        network: Network,
        instances: ConfigDict,
        magnification: Magnification,
        facts: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        *,
        workers: int = 0,
        block_px: int = BLOCK_PX,
        small_px: int = SMALL_PX,
    ):
        self.magnification = magnification
        self.facts, self.notes = dict(facts or {}), tuple(notes)
        self._network, self._instances = network, instances
        self._block, self._small, self._workers = block_px, small_px, workers
        self._pool: Executor | None = None

    @classmethod
    def load(
        cls,
        workdir: str | os.PathLike[str],
        *,
        overrides: Mapping[str, Any] | None = None,
        network_mpp: float | None = None,
        mesh: Mesh | None = None,
        **options: Any,
    ) -> Self:
        """Load a run's best (or last) checkpoint, and turn on the compilation cache.

        Args:
          workdir: the run's folder.
          overrides: dotted keys of its config → values, `eval.…` and `instances.…`; see `runs.open_run`.
          network_mpp: µm a pixel that the network was trained at; None: as the run says (`magnification`).
          mesh: devices to use; None: all.
          options: workers, block_px, small_px of the class.

        The cache (`devices.compilation_cache`) spares the next process the compilation; JAX's own settings
        win, and JAX_ENABLE_COMPILATION_CACHE=0 turns it off.

        Warns of what a user should know of the run: `notes`.

        Raises:
          CheckpointError: no checkpoint.
          UserError: an override that means nothing here; the resolution of training is not known.
        """
        return cls._told(trained.load(Path(workdir), overrides or {}, network_mpp, mesh), options)

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = pretrained.DEFAULT,
        *,
        overrides: Mapping[str, Any] | None = None,
        network_mpp: float | None = None,
        mesh: Mesh | None = None,
        **options: Any,
    ) -> Self:
        """Load a model that comes with the install; nothing is fetched from anywhere.

        Args:
          name: of the model (`nucseg models` lists them), or a file that `nucseg models save` has written.
          overrides, network_mpp, mesh, options: as of `load`, which warns alike.

        Raises:
          UserError: no such model, or its file is damaged; otherwise as `load`.
        """
        found = trained.load_pretrained(os.fspath(name), overrides or {}, network_mpp, mesh)
        return cls._told(found, options)

    @classmethod
    def _told(cls, found: Trained, options: Mapping[str, Any]) -> Self:
        """A segmenter, with a warning of each note to who called `load` or `from_pretrained`."""
        for note in found.notes:
            warnings.warn(shown(note), stacklevel=3)
        return cls(*found, **options)

    def __call__(
        self, image: Opened, mpp: float | None = None, *, white: int | None = None, crop: bool = True
    ) -> NDArray[np.int32]:
        """Find the nuclei of an image.

        Args:
          image: H&E-stained tissue: an array uint8 (or float in 0 … 1) [H, W, 3], RGB and not OpenCV's BGR;
            an image of Pillow; or the path of an image or a slide. As it came: its stains are normalised
            here where the network needs that.
          mpp: its µm a pixel. None: as the file says; what does not say, as no array and no image of Pillow
            does, is taken to have the model's, `magnification.network_mpp`, and a warning says so.
          white: the value that is white in a file of 16 bits a channel; None: as its pixels say. A warning
            says what was done about the pixels (`Slide.notes`).
          crop: a slide to what was scanned, as QuPath does; False: the full canvas (`open_slide`).

        Returns:
          A label map int32 [H, W], 0 = background, nuclei 1, 2, …. At a resolution coarser than the network's
          a nucleus of a few pixels may have none left, and its number be missing. A warning says that it
          shows no hematoxylin and eosin, what was masked (`instances.masked`), and how many were left out, or
          kept, that are too large.

        Raises:
          TypeError: it is nothing of these.
          ValueError: an array that is none of these, or one with `white`; or an image without a pixel.
          UserError: `mpp` or `white` is out of range; or the file cannot be read, is too large for one label
            map, or is a scanner's slide that does not say its resolution.
        """
        with opened(image, mpp, assumed_mpp=self.magnification.network_mpp, white=white, crop=crop) as slide:
            for note in slide.notes:
                warnings.warn(shown(f"{slide.path}: {note}"), stacklevel=2)
            if slide.assumption is not None:
                warnings.warn(
                    shown(
                        f"{slide.path}: {slide.assumption}; taken to have {slide.mpp:g} µm a pixel, as the "
                        "model has. Give it with mpp="
                    ),
                    stacklevel=2,
                )
            nuclei = self.stream(slide)
            label_map = painted(nuclei, nuclei.frame)
            for note in nuclei.notes():
                warnings.warn(shown(f"{slide.path}: {note}"), stacklevel=2)
            return label_map

    def label_map(self, slide: Slide, onto: Frame) -> NDArray[np.int32]:
        """The nuclei of a slide that fits into memory: int32 [H, W] of a frame of the same field.

        Args:
          slide: open, with a resolution.
          onto: the slide's own frame, or that of the image that it was prepared from.
        """
        return painted(self.stream(slide), onto)

    def nucleus_map(self, slide: Slide) -> NucleusMap:
        """What the network says of all pixels of a slide that fits into memory, at the network's level.

        Glass and masked areas get the probability 0.
        """
        planes = Scan(slide, self.frame(slide), self._network, self._instances.masked).at_once()
        return map_of_planes(planes, self._network.has_boundary)

    def windows(self, slide: Slide, side: int) -> Windows:
        """What looks at squares of a slide alone, in any of the eight ways that a square can lie.

        Args:
          slide: open, with a resolution; it stays the caller's.
          side: of the squares, in pixels of the network's level.

        Raises:
          UserError: the slide has no resolution.
        """
        return Windows(Scan(slide, self.frame(slide), self._network, self._instances.masked), side)

    def cut(self, nucleus_map: NucleusMap) -> NDArray[np.int32]:
        """The nuclei of a map at the network's level: int32 [h, w]."""
        return instances.split(nucleus_map, self._instances, self.magnification.network_mpp)

    def frame(self, slide: Slide) -> Frame:
        """Where a slide's nuclei will lie.

        Raises:
          UserError: it has no resolution.
        """
        if slide.mpp is None:
            raise UserError(f"{slide.path}: has no resolution ({slide.mpp_source}). Give it with --mpp")
        return Frame(slide.size, slide.mpp, self.magnification.network_mpp, slide.offset)

    def stream(
        self,
        slide: Slide,
        *,
        regions: Regions | None = None,
        scratch: Path | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Segmentation:
        """The nuclei of a slide, one by one as they are found; memory does not grow with the slide.

        Args:
          slide: open, and stays so until all nuclei have been taken.
          regions: only nuclei whose centroid lies in one of these, or on its border; only tiles that touch a
            region, or lie close to it, are computed (`read_regions` reads QuPath's). None: all nuclei.
          scratch: a folder for temporary files of a large slide, of up to 4 bytes a pixel of tissue at the
            network's resolution, a little more where tiles blend; None: the system's.
          on_progress: is told the part of the slide that is done, 0 … 1.

        Returns:
          What can be iterated once, with `frame`, `times` (seconds by stage) and more.

        Raises:
          UserError: the slide has no resolution, or a region is off the slide.
        """
        setup = Setup(
            self._network,
            self._instances,
            self._block,
            self._cutters,
            max(1, self._workers),
            min(_MOST_READERS, max(2, usable_cores())),
            self._small,
        )
        return Segmentation(slide, self.frame(slide), setup, scratch, on_progress, regions)

    def close(self) -> None:
        """End the processes that cut nuclei; they start again when needed."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _cutters(self) -> Executor:
        if self._pool is None:
            if self._workers:
                self._pool = processes(self._workers)
            else:
                self._pool = ThreadPoolExecutor(1, "cutter")
        return self._pool


def painted(nuclei: Iterable[Nucleus], onto: Frame) -> NDArray[np.int32]:
    """The label map of nuclei: int32 [H, W] of their slide's frame, or of another one of the same field."""
    label_map = np.zeros(onto.size, np.int32)
    for nucleus in nuclei:
        top, left, mask = onto.on_slide(nucleus)
        label_map[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = nucleus.id
    return label_map
