"""The folder of a report's figures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.io.files import write_text
from nucseg_jax.io.images import write_image

FIGURES = "figures"
"""Its name, beside the page."""


class Figures:
    """The folder of figures while it is filled; every file gets a name of its own.

    Args:
      folder: where the files go; the page will find them in FIGURES.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._taken: set[str] = set()

    def svg(self, name: str, markup: str) -> str:
        """Write a chart; HTML of a link to it."""
        file = self._file(name, "svg")
        write_text(self._folder / file, markup + "\n")
        return _link(file)

    def png(self, name: str, picture: NDArray[np.uint8]) -> str:
        """Write a picture; HTML of a link to it."""
        file = self._file(name, "png")
        write_image(self._folder / file, picture)
        return _link(file)

    def _file(self, name: str, ending: str) -> str:
        """Letters, digits and underscores alone, and no name that another differs from in case only."""
        stem = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")[:60] or "figure"
        file, number = f"{stem}.{ending}", 2
        while file in self._taken:
            file, number = f"{stem}_{number}.{ending}", number + 1
        self._taken.add(file)
        return file


def _link(file: str) -> str:
    return f'<a href="{FIGURES}/{file}">{file}</a>'
