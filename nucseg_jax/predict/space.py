"""Where a slide's temporary files go, and whether there is room for them and for its results."""

import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from nucseg_jax.errors import DiskFullError, shown
from nucseg_jax.inference.segmentation import Segmentation
from nucseg_jax.io import disk
from nucseg_jax.io.leftovers import remove_abandoned

_NUCLEI_PER_MM2 = 2500
_BYTES_PER_NUCLEUS = {"geojson": 1190, "csv": 157, "parquet": 236, "neighbours": 75, "labels": 150}
_BYTES_PER_NUCLEUS |= {"spatialdata": 280, "dicom": 1000}  # twice the file: its corners wait on the disk
"""Roughly, of H&E-stained tissue; rather too few, so that no slide is refused that fits."""

_SIMPLIFIED = {"geojson": 600, "parquet": 150}
_GZIP_FACTOR = 6  # at most


class Space:
    """The folders that slides are worked on in.

    Args:
      given: for temporary files, as the user says; None: the system's ($TMPDIR), or `out` where that is in
        memory or too small.
      out: the folder of all results.
      say: prints a line.
    """

    def __init__(self, given: Path | None, out: Path, say: Callable[[str], None]):
        self._given, self._out, self._say = given, out, say
        self._said: set[str] = set()

    def clean(self) -> None:
        """Delete what killed processes have left of temporary files."""
        for folder in {self._given or _system_folder() or self._out, self._out}:
            remove_abandoned(folder)

    def folder_for(
        self,
        slide: Segmentation,
        formats: Collection[str],
        *,
        simplified: bool = False,
        gzip: bool = False,
    ) -> Path | None:
        """The folder for a slide's temporary files; None where it needs none.

        Args:
          slide: about to be segmented.
          formats: that will be written.
          simplified: outlines are; their sizes are the smallest that can be.
          gzip: the GeoJSON is compressed.

        Raises:
          DiskFullError: there is too little room for them, or for the results.
        """
        scratch, results = slide.scratch_bytes, _result_bytes(slide, formats, simplified, gzip)
        folder = self._choose(scratch) if scratch else None
        if folder is None:
            self._check(slide, self._out, {"results": results})
        elif disk.same_disk(folder, self._out):
            self._check(slide, folder, {"temporary files": scratch, "results": results})
        else:
            self._check(slide, folder, {"temporary files": scratch})
            self._check(slide, self._out, {"results": results})
        return folder

    @staticmethod
    def _check(slide: Segmentation, place: Path, needs: Mapping[str, int]) -> None:
        """Raise DiskFullError unless a folder has room for all that a slide needs there, in bytes."""
        if (free := disk.free_bytes(place)) < sum(needs.values()):
            what = " and ".join(f"{disk.size(count)} for its {kind}" for kind, count in needs.items())
            option = "--scratch" if "temporary files" in needs else "--out"
            raise DiskFullError(
                f"{slide.slide.path}: needs about {what} in {place}, and {disk.size(free)} are free. Make "
                f"room, or name another folder with {option}"
            )

    def _choose(self, needed: int) -> Path:
        if self._given is not None:
            return self._given
        folder = _system_folder()
        if folder is None:
            return self._out
        why = ""
        if disk.in_memory(folder):
            why = "is kept in memory"
        elif disk.free_bytes(folder) < needed:
            why = f"has {disk.size(disk.free_bytes(folder))} free, and {disk.size(needed)} are needed"
        if not why:
            return folder
        if str(folder) not in self._said:
            self._said.add(str(folder))
            self._say(
                shown(
                    f"note: {folder} {why}: temporary files of large slides go to {self._out}. --scratch "
                    "names another folder"
                )
            )
        return self._out


def _system_folder() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # none that can be written
        return None


def _result_bytes(slide: Segmentation, formats: Collection[str], simplified: bool, gzip: bool) -> int:
    tissue_mm2 = slide.megapixels * slide.frame.network_mpp**2
    sizes = _BYTES_PER_NUCLEUS | (_SIMPLIFIED if simplified else {})
    if gzip:
        sizes["geojson"] = sizes["geojson"] // _GZIP_FACTOR
    a_nucleus = sum(sizes.get(name, 0) for name in formats)
    return round(tissue_mm2 * _NUCLEI_PER_MM2 * a_nucleus)
