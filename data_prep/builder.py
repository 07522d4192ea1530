"""What the two TFDS datasets of this package share: their features and metadata.

A prepared dataset needs none of this code to be read:
``tfds.builder_from_directory(".../monuseg/paper_vahadane/1.0.0").as_dataset(split="train")``.
"""

import contextlib
import importlib.metadata
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nucseg_jax.data.dataset import MASKS, Example, default_source
from nucseg_jax.data.metadata import sealed
from nucseg_jax.data.tensorflow import import_tensorflow
from nucseg_jax.errors import MissingExtraError
from nucseg_jax.slides import resolution
from nucseg_jax.slides.white import check_given as check_white

from . import prepare
from .manifest import Manifest

try:
    import tensorflow_datasets as tfds
except ImportError as error:
    raise MissingExtraError("data", error) from error


@dataclass(eq=False)
class NucleiConfig(tfds.core.BuilderConfig):
    """One way to prepare the images of a manifest. Make it with `make_config`.

    Attributes:
      stain: one of `normalize.METHODS`.
      stain_backend: one of `normalize.BACKENDS`.
      size: side of the prepared images in pixels, or None to keep each image's own.
      mpp: µm a pixel of all images as they came, or None to look in their files.
      white: the value that is white in images of 16 bits, or None to look for it.
      region_classes: names of classes of regions in GeoJSON, besides Region*.
    """

    manifest: Manifest | None = None
    stain: str = "none"
    stain_backend: str = "jax"
    size: int | None = None
    mpp: float | None = None
    white: int | None = None
    region_classes: tuple[str, ...] = ()


def make_config(
    manifest: Manifest,
    *,
    stain: str,
    size: int | None,
    default_size: int | None,
    stain_backend: str = "jax",
    mpp: float | None = None,
    white: int | None = None,
    region_classes: Sequence[str] = (),
) -> NucleiConfig:
    """A config named NAME_STAIN, or NAME_STAIN_SIZE where the size is not the dataset's default.

    Raises:
      UserError: `mpp` is out of `resolution`'s range, `white` out of that of 16 bits.
    """
    if mpp is not None:
        resolution.check_given(mpp)
    if white is not None:
        check_white(white)
    suffix = "" if size == default_size else f"_{size}"
    return NucleiConfig(
        name=f"{manifest.name}_{stain}{suffix}",
        description=manifest.description,
        manifest=manifest,
        stain=stain,
        stain_backend=stain_backend,
        size=size,
        mpp=mpp,
        white=white,
        region_classes=tuple(sorted(set(region_classes))),
    )


class _SealedMetadata(tfds.core.MetadataDict):
    """Metadata whose file has a digest of them."""

    def save_metadata(self, data_dir: Any) -> None:
        self.update(sealed(self))
        super().save_metadata(data_dir)


class _OwnInfo(tfds.core.DatasetInfo):
    """A description that TFDS's servers have nothing of."""

    def initialize_from_bucket(self) -> None:
        """Do nothing; TFDS would leave an empty temporary folder."""


class NucleiBuilder(  # type: ignore[call-arg]  # TFDS has no types
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """Images with instance label maps.

    The source folders are those of `prepare_from`; where TFDS prepares by itself, its manual folder.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    _folders: tuple[Path, ...] = ()
    cache: Path | None = None  # what is kept between preparations; None: below the root

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.size
        image = tfds.features.Image(shape=(side, side, 3), dtype=np.uint8, encoding_format="png")
        return _OwnInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": image,
                    "label_map": _label_map(side),
                    "original_image": tfds.features.Image(dtype=np.uint8, encoding_format="png"),
                    "original_label_map": _label_map(None),
                    "id": tfds.features.Text(),
                    "organ": tfds.features.Text(),
                    "source": tfds.features.Text(),
                    "unannotated": _mask(),
                    "original_unannotated": _mask(),
                }
            ),
            metadata=_SealedMetadata(self.recipe()),
        )

    def recipe(self) -> dict[str, Any]:
        """What was asked for; the part of the metadata known before the images are read."""
        config = self.builder_config
        return {
            "manifest": config.manifest.to_json(),
            "stain": config.stain,
            "stain_backend": None if config.stain == "none" else config.stain_backend,
            "size": config.size,
            "region_classes": list(config.region_classes),
        }

    def prepare_from(self, folders: Sequence[Path]) -> None:
        """Prepare the dataset on disk.

        TFDS writes to a folder `incomplete...VERSION` and renames it at the end, so that a killed run
        leaves nothing that loads as a dataset.

        Args:
          folders: those with the raw files, at least one.

        Raises:
          DataError: see `prepare.plan`.
        """
        import_tensorflow()  # before TFDS does: it would take all of a GPU
        tfds.disable_progress_bar()
        self._folders = tuple(folders)
        config = tfds.download.DownloadConfig(manual_dir=folders[0], try_download_gcs=False)
        # TFDS tells of a download that does not take place, and wants a folder for it.
        with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as downloads:
            self.download_and_prepare(download_dir=downloads, download_config=config, file_format="tfrecord")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        preparation = prepare.plan(
            config.manifest,
            self._folders or [Path(dl_manager.manual_dir)],
            source=default_source(f"{self.name}/{config.name}", self.recipe()),
            stain=config.stain,
            stain_backend=config.stain_backend,
            size=config.size,
            cache=(self.cache or Path(self.data_dir_root) / "cache") / "stain",
            mpp=config.mpp,
            white=config.white,
            region_classes=config.region_classes,
        )
        self.info.metadata.update(_facts(preparation))
        # What falls back is known when all images are done; TFDS writes the metadata after that.
        if preparation.normalizer:
            self.info.metadata["stain_fell_back"] = preparation.normalizer.fell_back
        progress = tqdm(total=len(config.manifest.images), desc=config.name, unit="image")
        return {
            split: self._generate_examples(preparation, split, progress) for split in config.manifest.splits
        }

    def _generate_examples(
        self, preparation: prepare.Preparation, split: str, progress: tqdm
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in preparation.examples(split):
            nuclei = np.unique(example.original_label_map[example.original_label_map > 0]).size
            self.info.metadata["nuclei"][example.id] = nuclei
            if vanished := nuclei - np.unique(example.label_map[example.label_map > 0]).size:
                self.info.metadata["vanished_nuclei"][example.id] = vanished
            progress.update()
            yield example.id, _row(example)
        if progress.n == progress.total:
            progress.close()


def _label_map(side: int | None) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=(side, side), dtype=np.int32, encoding=tfds.features.Encoding.ZLIB)


def _mask() -> tfds.features.Tensor:
    """Of pixels, 0 or 1; of an image without one it has the shape (0, 0), since TFDS has no None."""
    return tfds.features.Tensor(shape=(None, None), dtype=np.uint8, encoding=tfds.features.Encoding.ZLIB)


def _row(example: Example) -> dict[str, Any]:
    """An example as TFDS stores it."""
    masks = {
        key: np.zeros((0, 0), np.uint8) if mask is None else mask.astype(np.uint8)
        for key, mask in vars(example).items()
        if key in MASKS
    }
    return {**vars(example), **masks}


def _facts(preparation: prepare.Preparation) -> dict[str, Any]:
    """The part of the metadata that only the images tell."""
    facts: dict[str, Any] = {
        "sha256": preparation.sha256,
        "nuclei": {},
        "vanished_nuclei": {},
        "mpp": preparation.resolution.mpp,
        "mpp_source": preparation.resolution.source,
        "resolution_notes": list(preparation.resolution_notes),
        "white": preparation.white,
        "white_notes": list(preparation.white_notes),
        "image_notes": {image_id: list(notes) for image_id, notes in preparation.notes.items()},
        "skipped_outlines": preparation.skipped,
        "object_notes": preparation.told,
        "annotated": preparation.annotated,
        "annotated_share": preparation.annotated_share,
        "stain_target": None,
        "stain_style": None,
        "versions": {"tensorflow-datasets": importlib.metadata.version("tensorflow-datasets")},
    }
    if preparation.normalizer:
        facts["stain_target"] = preparation.manifest.stain_target
        facts["stain_style"] = preparation.normalizer.style
        facts["versions"].update(preparation.normalizer.versions)
    return facts
