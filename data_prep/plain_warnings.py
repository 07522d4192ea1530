"""Warnings of this package as people read them."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from absl import logging
from tqdm import tqdm

from nucseg_jax.errors import shown

from . import normalize


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print what is said of stains as one line each, and nothing of what TFDS narrates."""
    # TFDS reports every config that is not listed in its class, and every folder it makes.
    logging.set_verbosity(logging.ERROR)

    original = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, normalize.StainWarning):
            tqdm.write(f"warning: {shown(message)}", file=sys.stderr)
        else:
            original(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = original
