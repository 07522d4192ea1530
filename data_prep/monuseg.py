"""MoNuSeg as a TFDS dataset: ``python -m data_prep.monuseg --source DIR --out DIR``.

Importing this module also registers it with TFDS:
``tfds.load("monuseg/paper_none", download_and_prepare_kwargs=...)`` with the source as manual folder.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nucseg_jax.errors import UserError

from . import manifest
from .builder import make_config
from .datasets import SIZE, MonusegAsAsked
from .datasets import Monuseg as Monuseg
from .on_disk import build
from .plain_warnings import plain_warnings


def prepare(
    source: Path,
    out: Path | None,
    *,
    split: str,
    stain: str,
    size: int,
    mpp: float | None,
    white: int | None,
    stain_target: str | None,
    stain_backend: str,
    overwrite: bool,
) -> None:
    """Prepare MoNuSeg, unless it is prepared; prints what was made.

    Args:
      source: folder with MoNuSeg's files.
      out: folder for prepared datasets; None: TFDS's.
      split: one of `manifest.committed`.
      stain: one of `normalize.METHODS`.
      size: side of the prepared images in pixels.
      mpp: µm a pixel of the images as they are in `source`; None: as their files say.
      white: the value that is white in images of 16 bits; None: as their pixels say.
      stain_target: training image whose stains the others get; None: the split's.
      stain_backend: one of `normalize.BACKENDS`.
      overwrite: do it again.

    Raises:
      UserError: no such split or image, or files are missing or damaged.
    """
    if split not in manifest.committed():
        raise UserError(f"--split must be one of {', '.join(manifest.committed())}, got {split!r}")
    images = manifest.load(manifest.committed()[split])
    if stain_target:
        images = replace(images, stain_target=stain_target)
        manifest.check(images, f"--stain-target {stain_target}")
    config = make_config(
        images, stain=stain, stain_backend=stain_backend, size=size, default_size=SIZE, mpp=mpp, white=white
    )
    with plain_warnings():
        build(lambda root: MonusegAsAsked(config=config, data_dir=root), out, [source], overwrite=overwrite)


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare monuseg`."""
    from nucseg_jax.cli import door

    door("prepare", "monuseg", arguments=arguments)


if __name__ == "__main__":
    main()
