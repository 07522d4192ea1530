"""summary.json: what was found, in what, with what."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import nucseg_jax
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.centroids import Centroids
from nucseg_jax.export.clumping import ripley_l
from nucseg_jax.export.region_areas import RegionArea
from nucseg_jax.export.sinks import Sink
from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.io.files import appearing, printable
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import file_state

FORMAT_VERSION = 2
"""Of this folder's files: raised when a reader of an older one would go wrong.

Folders of 1 have tables without `slide` and `object_id`, no geometry in Parquet, and other ids in GeoJSON.
"""

_PACKAGES = (
    *("flax", "jax", "numpy", "openslide-python", "scikit-image", "scipy", "shapely", "tifffile"),
    *("highdicom", "pydicom", "spatialdata"),  # of extras
)


class Summary(Sink):
    """A JSON object with the keys below, written when all nuclei are known.

    `format_version`; `created` (UTC, ISO 8601); `source` (path or address; bytes; modified: seconds
    since 1970; null where `slides.FileState` has none);
    `slide` (name: of the folder, as in tables; size in base pixels; mpp; network_mpp; offset_px: x and y of
    its corner on the full canvas of the file, which coordinates do not contain); `nuclei` (count, area_mm2:
    of tissue that was analysed, per_mm2: null without tissue, mean_area_um2: null without nuclei);
    `clumping` (Ripley's L at some radii, µm,
    corrected for the border of the tissue: `clumping.ripley_l`); `masked` (by kind, where no nucleus was
    looked for: share of the slide, area_mm2); `regions` (by name, where nuclei were looked for in regions:
    count of nuclei, area_mm2 on the slide, tissue_mm2 in it, per_mm2 of this tissue: null without, clumping;
    a nucleus in several counts in each); `left_out` (how many nuclei, by reason); `implausible`
    (how many that were kept, by reason); `seconds` by stage; `config`; `versions`.

    Args:
        path: of the file.
        frame: the slide.
        name: of the slide in tables.
        source: the file that the nuclei were found in.
        area_mm2: of the tissue that was analysed.
        tissue: the same as a mask.
        masked: the share of the slide by kind of what was masked.
        regions: by name, where nuclei were looked for in regions.
        left_out: nuclei that were left out, by reason; read at the end, so that it can still change.
        implausible: the same of nuclei that were kept and are hardly any.
        config: what the run was told, and what it says, as JSON can hold it; read at the end, too.
        seconds: by stage; read at the end, so that it can still change.

    Raises:
        OSError: there is no such source.
        TypeError, ValueError: JSON cannot hold the config.
    """

    def __init__(
        self,
        path: Path,
        frame: Frame,
        *,
        name: str,
        source: Path,
        area_mm2: float,
        tissue: TissueArea,
        masked: Mapping[str, float] | None = None,
        regions: Mapping[str, RegionArea] | None = None,
        left_out: Mapping[str, int] | None = None,
        implausible: Mapping[str, int] | None = None,
        config: Mapping[str, Any],
        seconds: Mapping[str, float],
    ) -> None:
        super().__init__(frame)
        height, width = frame.size
        json.dumps(dict(config), allow_nan=False)  # now, and not after hours
        state = file_state(source)
        self._path, self._name = path, name
        self._temporary: Path
        self._source = {"path": printable(source), **state._asdict()}
        slide_mm2 = height * width * (frame.mpp / 1000) ** 2
        self._area_mm2 = area_mm2
        self._tissue, self._centroids = tissue, Centroids()
        self._masked = {
            kind: {"share": share, "area_mm2": share * slide_mm2} for kind, share in (masked or {}).items()
        }
        self._regions = regions or {}
        self._in_region: Counter[str] = Counter()
        self._left_out, self._implausible = left_out or {}, implausible or {}
        self._config = config
        self._seconds = seconds
        self._count = 0
        self._pixels = 0

    def _open(self, stack: ExitStack) -> None:
        self._temporary = stack.enter_context(appearing(self._path))

    def _write(self, batch: Batch) -> None:
        self._count += len(batch)
        self._pixels += int(batch.canvas.pixels.sum(dtype="int64"))
        self._centroids.add(batch)
        for names in batch.canvas.regions:
            self._in_region.update(names or ())

    def _finish(self) -> None:
        text = json.dumps(self._content(), indent=2, ensure_ascii=False, allow_nan=False)
        self._temporary.write_text(text + "\n", encoding="utf-8")

    def _content(self) -> dict[str, Any]:
        frame = self._frame
        area_um2 = self._pixels * frame.network_mpp**2
        return {
            "format_version": FORMAT_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": self._source,
            "slide": {
                "name": self._name,
                "size_px": list(frame.size),
                "mpp": frame.mpp,
                "network_mpp": frame.network_mpp,
                "offset_px": {"x": frame.offset[1], "y": frame.offset[0]},
            },
            "nuclei": {
                "count": self._count,
                "area_mm2": self._area_mm2,
                "per_mm2": self._count / self._area_mm2 if self._area_mm2 else None,
                "mean_area_um2": area_um2 / self._count if self._count else None,
            },
            "clumping": ripley_l(self._centroids.points_um, self._tissue),
            "masked": self._masked,
            "regions": {name: self._of_region(name, area) for name, area in self._regions.items()},
            "left_out": dict(self._left_out),
            "implausible": dict(self._implausible),
            "seconds": dict(self._seconds),
            "config": dict(self._config),
            "versions": _versions(),
        }

    def _of_region(self, name: str, area: RegionArea) -> dict[str, Any]:
        count = self._in_region[name]
        per_mm2 = count / area.tissue_mm2 if area.tissue_mm2 else None
        return {
            "count": count,
            "area_mm2": area.area_mm2,
            "tissue_mm2": area.tissue_mm2,
            "per_mm2": per_mm2,
            "clumping": ripley_l(self._centroids.points_um, area.tissue),
        }


def _versions() -> dict[str, str]:
    versions = {"nucseg_jax": nucseg_jax.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # of an extra that this run did without
    return versions | {"platform": sys.platform}
