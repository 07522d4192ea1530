"""One white for all files of 16 bits that belong together, so that one camera's images are scaled alike."""

import statistics
from collections.abc import Iterable
from pathlib import Path

from nucseg_jax.errors import UserError
from nucseg_jax.slides import opening
from nucseg_jax.slides.white import Shared

MOST_APART = 1.25
"""Times the lowest white that was found, for the highest: those of one camera differ as glass does."""


def find(paths: Iterable[Path]) -> tuple[Shared | None, tuple[str, ...]]:
    """The white of a dataset: the median of what its files say each by itself.

    Args:
      paths: of the files, of any kind. Those that cannot be read, or do not say, do not count.

    Returns:
      The value for all files, None where each is to be read by itself: none has 16 bits, or their whites are
      too far apart for one camera. And what should be said of that.
    """
    found: list[tuple[int, Path]] = []
    for path in paths:
        try:
            value = opening.find_white(path)
        except UserError:  # said where the file is read
            continue
        if value is not None:
            found.append((value, path))
    if not found:
        return None, ()
    (lowest, dark), (highest, bright) = min(found), max(found)
    if highest > MOST_APART * lowest:
        return None, (
            f"16 bits a channel: white is {lowest:,} in {dark.name} and {highest:,} in {bright.name}, so "
            "each file has its own. If one camera made them, give one value for all with --white",
        )
    value = Shared(statistics.median_low(value for value, _ in found))
    if lowest == highest:
        return value, ()
    return value, (
        f"16 bits a channel: white is {value:,} in all files, the median of the files' own values, "
        f"{lowest:,} … {highest:,}. Give another with --white",
    )
