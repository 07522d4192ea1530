"""The file of each of many slides, in a folder of annotations."""

from collections.abc import Sequence
from pathlib import Path

from nucseg_jax.errors import UserError, listed_lines

_ENDINGS = (".geojson", ".geojson.gz")


def files_in(folder: Path, slides: Sequence[Path], names: Sequence[str], option: str) -> list[Path]:
    """The file of each slide.

    Args:
      folder: of GeoJSON.
      slides: their paths, for messages.
      names: of their files, but for the ending .geojson or .geojson.gz.
      option: that names the folder, for messages.

    Raises:
      UserError: a slide has no file, or two.
    """
    files, missing = [], []
    for slide, name in zip(slides, names, strict=True):
        found = [path for ending in _ENDINGS if (path := folder / f"{name}{ending}").exists()]
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1].name}: both are there; remove one")
        files += found
        if not found:
            missing.append(f"{slide}: {name}.geojson")
    if missing:
        raise UserError(
            f"{option} {folder}: has no file of these slides:",
            *listed_lines(missing),
            "Export their annotations there, or leave these slides out",
        )
    return files
