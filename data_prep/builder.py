"""What the two TFDS datasets of this package share: features, metadata, and the command around them.

A prepared dataset needs none of this code to be read:
``tfds.builder_from_directory(".../monuseg/paper_vahadane/1.0.0").as_dataset(split="train")``.
"""

import argparse
import contextlib
import importlib.metadata
import io
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from absl import logging
from tqdm import tqdm

from data_prep import normalize, prepare, sources
from data_prep.annotations import AnnotationWarning
from data_prep.manifest import Manifest
from nucseg_jax.data import import_tensorflow
from nucseg_jax.errors import DataError, MissingExtraError, UserError
from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.slides import resolution

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
    """

    manifest: Manifest | None = None
    stain: str = "none"
    stain_backend: str = "jax"
    size: int | None = None
    mpp: float | None = None


def make_config(
    manifest: Manifest,
    *,
    stain: str,
    size: int | None,
    default_size: int | None,
    stain_backend: str = "jax",
    mpp: float | None = None,
) -> NucleiConfig:
    """A config named NAME_STAIN, or NAME_STAIN_SIZE where the size is not the dataset's default.

    Raises:
      UserError: `mpp` is out of `resolution`'s range.
    """
    if mpp is not None:
        resolution.check_given(mpp)
    suffix = "" if size == default_size else f"_{size}"
    return NucleiConfig(
        name=f"{manifest.name}_{stain}{suffix}",
        description=manifest.description,
        manifest=manifest,
        stain=stain,
        stain_backend=stain_backend,
        size=size,
        mpp=mpp,
    )


class NucleiBuilder(  # type: ignore[call-arg]  # TFDS has no types
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """Images with instance label maps; the manual folder of TFDS is the source folder."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.size
        image = tfds.features.Image(shape=(side, side, 3), dtype=np.uint8, encoding_format="png")
        return tfds.core.DatasetInfo(
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
                }
            ),
            metadata=tfds.core.MetadataDict(self.recipe()),
        )

    def recipe(self) -> dict[str, Any]:
        """What was asked for; the part of the metadata known before the images are read."""
        config = self.builder_config
        return {
            "manifest": config.manifest.to_json(),
            "stain": config.stain,
            "stain_backend": None if config.stain == "none" else config.stain_backend,
            "size": config.size,
        }

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        preparation = prepare.plan(
            config.manifest,
            Path(dl_manager.manual_dir),
            stain=config.stain,
            stain_backend=config.stain_backend,
            size=config.size,
            cache=Path(self.data_dir_root) / "cache" / "stain",
            mpp=config.mpp,
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
            progress.update()
            yield example.id, vars(example)
        if progress.n == progress.total:
            progress.close()


def _label_map(side: int | None) -> tfds.features.Tensor:
    return tfds.features.Tensor(shape=(side, side), dtype=np.int32, encoding=tfds.features.Encoding.ZLIB)


def _facts(preparation: prepare.Preparation) -> dict[str, Any]:
    """The part of the metadata that only the images tell."""
    facts: dict[str, Any] = {
        "sha256": preparation.sha256,
        "nuclei": {},
        "mpp": preparation.resolution.mpp,
        "mpp_source": preparation.resolution.source,
        "stain_target": None,
        "stain_style": None,
        "versions": {"tensorflow-datasets": importlib.metadata.version("tensorflow-datasets")},
    }
    if preparation.normalizer:
        facts["stain_target"] = preparation.manifest.stain_target
        facts["stain_style"] = preparation.normalizer.style
        facts["versions"].update(preparation.normalizer.versions)
    return facts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options both commands have."""
    parser.add_argument("--source", type=Path, required=True, help="folder with the raw files")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for prepared datasets (default: $TFDS_DATA_DIR, or TFDS's ~/tensorflow_datasets)",
    )
    parser.add_argument("--overwrite", action="store_true", help="prepare again even if the dataset is there")
    parser.add_argument(
        "--mpp",
        type=float,
        metavar="UM",
        help="µm a pixel of the images as they are in --source (default: as their files state it, else "
        f"{TYPICAL_MPP:g}, which is 40×)",
    )
    parser.add_argument("--stain-target", metavar="ID", help="training image whose stains the others get")
    parser.add_argument(
        "--stain-backend",
        choices=normalize.BACKENDS,
        default="jax",
        help="staintools continues datasets of earlier releases: seconds an image, and only vahadane",
    )


def positive(text: str) -> int:
    """An argparse type: a size in pixels."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number of pixels")
    return int(text)


def build(make_builder: Callable[[], NucleiBuilder], source: Path, *, overwrite: bool) -> None:
    """Prepare a dataset on disk unless it is there, and print what was made.

    TFDS writes to a folder `incomplete...VERSION` and renames it at the end, so that a killed run
    leaves nothing that loads as a dataset.

    Args:
      make_builder: makes the builder, with `data_dir` = the folder for prepared datasets.
      source: the folder with the raw files.
      overwrite: delete a finished dataset first.

    Raises:
      DataError: see `prepare.plan`; or the dataset is there, but made from another recipe.
    """
    builder = make_builder()
    if builder.data_path.exists() and not overwrite:
        _check_recipe(builder)
        print(f"{builder.data_path}: already prepared, nothing to do (--overwrite prepares it again)")
        if "mpp" not in builder.info.metadata:
            print(
                f"{builder.data_path}: an earlier release prepared it and recorded no µm a pixel, so "
                f"{TYPICAL_MPP:g} (40×) is taken. --overwrite records it"
            )
        return
    # The commonest error, found before the slow import of TensorFlow and before anything is deleted.
    sources.scan(source).pairs(entry.id for entry in builder.builder_config.manifest.images)
    if builder.data_path.exists():
        builder.data_path.rmtree()
        builder = make_builder()  # the first one has read the metadata of the old dataset
    import_tensorflow()  # before TFDS does: it would take all of a GPU
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=source, try_download_gcs=False)
    # TFDS tells of a download that does not take place, and wants a folder for it.
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as downloads:
        builder.download_and_prepare(download_dir=downloads, download_config=config, file_format="tfrecord")
    print("\n".join(_summary(builder)))


def run(prepare_dataset: Callable[[], None]) -> None:
    """Run a command; its UserError is printed without a traceback and ends it with exit code 2."""
    # TFDS reports every config that is not listed in its class, and every folder it makes.
    logging.set_verbosity(logging.ERROR)
    try:
        with _plain_warnings():
            prepare_dataset()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


_ROUNDING = 1e-4
"""Of µm a pixel, which files state as whole numbers of pixels a metre or as fractions."""


def _check_recipe(builder: NucleiBuilder) -> None:
    wanted = builder.recipe()
    found = {key: builder.info.metadata.get(key) for key in wanted}
    different = [key for key in wanted if found[key] != wanted[key]]
    mpp = builder.builder_config.mpp
    if mpp is not None and not math.isclose(mpp, builder.info.metadata.get("mpp", 0), rel_tol=_ROUNDING):
        different.append("mpp")
    if different:
        raise DataError(
            f"{builder.data_path}: already prepared with another {' and '.join(different)}. "
            "Give --overwrite to prepare it again, or another --out"
        )


def _summary(builder: NucleiBuilder) -> Iterator[str]:
    metadata, manifest = builder.info.metadata, builder.builder_config.manifest
    yield f"prepared {builder.data_path}"
    otherwise = ". Give another with --mpp" if metadata["mpp_source"].startswith("assumed") else ""
    yield f"  {metadata['mpp']:.4g} µm a pixel: {metadata['mpp_source']}{otherwise}"
    for split in manifest.splits:
        entries = manifest.in_split(split)
        nuclei = sum(metadata["nuclei"][entry.id] for entry in entries)
        yield f"  {split}: {len(entries)} images, {nuclei} nuclei"
    unknown = [entry.id for entry in manifest.images if not entry.sha256]
    if unknown:
        yield "SHA-256 of the images for which the manifest has none:"
        yield from (f"  {image_id} {metadata['sha256'][image_id]}" for image_id in unknown)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print skipped regions as one line each, without the source line Python adds."""

    original = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, (AnnotationWarning, normalize.StainWarning)):
            tqdm.write(f"warning: {message}", file=sys.stderr)
        else:
            original(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = original
