"""Which regions each slide has: `--roi FILE` of one slide, `--roi FOLDER` of many."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nucseg_jax.errors import UserError
from nucseg_jax.predict.jobs import SlideJob
from nucseg_jax.regions import files_in, read_regions


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
        files = files_in(roi, [job.source for job in jobs], _names(jobs), "--roi")
    elif len(jobs) > 1:
        raise UserError(
            f"--roi {roi}: is for one slide, and there are {len(jobs)}. Give a folder that has a file of "
            "each slide, of its name with .geojson or .geojson.gz in place of its ending"
        )
    else:
        files = [roi]
    return [job._replace(regions=read_regions(path)) for job, path in zip(jobs, files, strict=True)]


def _names(jobs: Sequence[SlideJob]) -> list[str]:
    """What each slide's file is called, but for its ending."""
    stems = Counter(job.source.stem.casefold() for job in jobs)
    is_alone = [stems[job.source.stem.casefold()] == 1 for job in jobs]
    return [job.source.stem if alone else job.folder.name for job, alone in zip(jobs, is_alone, strict=True)]
