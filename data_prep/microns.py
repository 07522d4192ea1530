"""The resolution of a dataset's images, in µm a pixel: as given, as their files state it, or 40×."""

import statistics
from collections.abc import Mapping
from pathlib import Path

from nucseg_jax.errors import DataError, listed
from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.slides import resolution
from nucseg_jax.slides.reader import Resolution

SAME = 1.01
"""Resolutions, and sides of images, that differ by a smaller factor count as the same."""

_SAME_IN_ANNOTATIONS = 1.1
"""Of what annotations state: that of the slide, or of the scanner, and not of the image alone."""


def of_images(found: Mapping[Path, Resolution], given: float | None) -> Resolution:
    """The one resolution of all images of a dataset.

    Files that state none are taken to be like those that state one; the source says how many there are.

    Args:
      found: what each file states, of the images as they came.
      given: µm a pixel of all of them, whatever the files state; None to go by these.

    Returns:
      µm a pixel (always), and how that is known. A source that begins with "assumed" is no knowledge.

    Raises:
      UserError: `given` is out of `resolution`'s range.
      DataError: a file states a value out of it, or one that cannot be; or two files state different
        resolutions.
    """
    if given is not None:
        return Resolution(resolution.check_given(given), "given by --mpp")
    stated: list[tuple[float, str, Path]] = []
    for path, of_file in found.items():
        mpp, source = resolution.checked(of_file, str(path))
        if mpp is not None:
            stated.append((mpp, source, path))
    if not stated:
        return Resolution(TYPICAL_MPP, "assumed: 40×, since no image file states another")
    finest, coarsest = min(stated), max(stated)
    if coarsest[0] > SAME * finest[0]:
        raise DataError(
            f"{coarsest[2]}: states {coarsest[0]:g} µm a pixel ({coarsest[1]}), but {finest[2]} states "
            f"{finest[0]:g} ({finest[1]}). Prepare images of different resolutions apart; or, if the files "
            "are wrong, give the right value for all with --mpp"
        )
    sources = " and ".join(sorted({source for _, source, _ in stated}))
    if len(stated) < len(found):
        sources += f" of {len(stated)} of {len(found)} images; the others are taken to be like them"
    return Resolution(statistics.median(mpp for mpp, _, _ in stated), sources)


def of_annotations(stated: Mapping[str, float], mpp: float) -> tuple[str, ...]:
    """What to tell where annotations state another resolution than the one that is taken: a line, or none.

    Args:
      stated: by the image's id µm a pixel, of the annotations that state it.
      mpp: µm a pixel, taken.
    """
    other = {
        image_id: value
        for image_id, value in stated.items()
        if max(value, mpp) > _SAME_IN_ANNOTATIONS * min(value, mpp)
    }
    if not other:
        return ()
    finest, coarsest = min(other.values()), max(other.values())
    values = f"{finest:.4g}" + (f" … {coarsest:.4g}" if coarsest > SAME * finest else "")
    return (
        f"annotations of {len(other)} images state {values} µm a pixel (MicronsPerPixel), and {mpp:.4g} is "
        f"taken: {listed(list(other))}. If they are right, give the value with --mpp",
    )
