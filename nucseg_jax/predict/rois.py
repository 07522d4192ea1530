"""Which regions each slide has: `--roi FILE` of one slide, `--roi FOLDER` of many."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nucseg_jax.errors import UserError, listed_lines
from nucseg_jax.predict.jobs import SlideJob
from nucseg_jax.regions import read_regions

_ENDINGS = (".geojson", ".geojson.gz")


def with_regions(jobs: Sequence[SlideJob], roi: Path) -> list[SlideJob]:
    """The same jobs, each with the regions that its nuclei are looked for in.

    Args:
      jobs: all slides that were asked for.
      roi: GeoJSON of one slide; or a folder that has a file of each slide, of its name with .geojson or
        .geojson.gz in place of its ending. Where several slides have one name, the file has that of the
        slide's folder in --out (P1_HE.geojson).

    Raises:
      UserError: a slide has no file, or two; a file for more than one slide.
      DataError: as `read_regions`.
    """
    if roi.is_dir():
        files = _files(jobs, roi)
    elif len(jobs) > 1:
        raise UserError(
            f"--roi {roi}: is for one slide, and there are {len(jobs)}. Give a folder that has a file of "
            "each slide, of its name with .geojson or .geojson.gz in place of its ending"
        )
    else:
        files = [roi]
    return [job._replace(regions=read_regions(path)) for job, path in zip(jobs, files, strict=True)]


def _files(jobs: Sequence[SlideJob], folder: Path) -> list[Path]:
    """The file of each slide in a folder."""
    stems = Counter(job.source.stem.casefold() for job in jobs)
    files, missing = [], []
    for job in jobs:
        is_alone = stems[job.source.stem.casefold()] == 1
        name = job.source.stem if is_alone else job.folder.name
        found = [path for ending in _ENDINGS if (path := folder / f"{name}{ending}").exists()]
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1].name}: both are there; remove one")
        files += found
        if not found:
            missing.append(f"{job.source}: {name}.geojson")
    if missing:
        raise UserError(
            f"--roi {folder}: has no file of these slides:",
            *listed_lines(missing),
            "Export their annotations there, or leave these slides out",
        )
    return files
