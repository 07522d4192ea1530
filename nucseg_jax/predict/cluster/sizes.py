"""How large slides are, so that the largest are begun first."""

import os
from pathlib import Path

from nucseg_jax.io.names import is_address

_UNKNOWN = 1 << 60  # an address: it may be the largest


def bytes_of(source: Path) -> int:
    """The bytes of a slide: of its file and the folder of its name beside it (MRXS); or of an OME-Zarr."""
    if is_address(source):
        return _UNKNOWN
    try:
        if source.is_dir():
            return _all_in(source)
        beside = source.with_suffix("")
        return source.stat().st_size + (_all_in(beside) if beside != source and beside.is_dir() else 0)
    except OSError:  # it fails later, and alone
        return 0


def _all_in(folder: Path) -> int:
    files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(os.stat(file).st_size for file in files)
