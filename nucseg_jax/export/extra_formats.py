"""Formats that need packages of an extra: they are written when they are named, and not by default."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module

from nucseg_jax.errors import MissingExtraError

EXTRA_FORMATS = {"spatialdata": "nuclei.zarr", "dicom": "nuclei.dcm, of DICOM slides"}
"""Name, which is also that of the extra → the files it makes."""

_PACKAGES = {"spatialdata": "spatialdata", "dicom": "highdicom"}


def check_installed(formats: Collection[str]) -> None:
    """Look whether the packages of formats are there; the first time that takes the seconds of their import.

    Raises:
        MissingExtraError: one is not; the message has the command that installs it.
    """
    for name in sorted(_PACKAGES.keys() & set(formats)):
        try:
            import_module(_PACKAGES[name])
        except ImportError as error:
            raise MissingExtraError(name, error, f"Or leave {name} out of the formats") from error
