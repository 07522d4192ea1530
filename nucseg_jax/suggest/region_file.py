"""Suggested regions as GeoJSON for QuPath: annotations of its class Region*, and nuclei to correct.

Regions are locked, so that drawing in one does not change it. Nuclei are annotations, too, and no detections
as in `export.geojson`: QuPath lets nobody edit the outline of a detection, and these are few. Coordinates are
as there.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import mapping

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.geojson import CLASSIFICATION, annotation
from nucseg_jax.export.polygons import polygons
from nucseg_jax.io.files import write_text
from nucseg_jax.io.geojson_files import REGION
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.suggest.finding import Suggestion, Suggestions


def write(path: Path, found: Suggestions) -> None:
    """Write a slide's suggestions; the file appears when it is complete.

    The features are the regions, named 1, 2, … in order of usefulness, and behind them the nuclei.

    Raises:
      DiskFullError: the disk is full.
    """
    features = [*_regions(path.name, found.regions), *_nuclei(path.name, found.nuclei, found.frame)]
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False) for feature in features)
    write_text(path, f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n')


def _regions(name: str, regions: Sequence[Suggestion]) -> Iterator[dict[str, Any]]:
    for rank, region in enumerate(regions, 1):
        of = region.score
        yield annotation(
            f"{name} region {region.box}",
            mapping(shapely.box(*region.box)),
            name=str(rank),
            classification=REGION,
            isLocked=True,
            measurements={
                "Uncertainty": round(of.uncertainty, 6),
                "Disagreement bits": round(of.disagreement, 6),
                "Boundary entropy bits": round(of.boundary_entropy, 6),
                "Tissue share": round(of.tissue, 6),
                "Expected nuclei": of.nuclei,
            },
        )


def _nuclei(name: str, nuclei: Sequence[Nucleus], frame: Frame) -> Iterator[dict[str, Any]]:
    if not nuclei:
        return
    outlines = polygons(Batch(nuclei, frame).outlines, frame)
    for nucleus, outline in zip(nuclei, outlines, strict=True):
        yield annotation(
            f"{name} nucleus {nucleus.id}",
            mapping(outline),
            classification=CLASSIFICATION,
            measurements={"Probability": round(nucleus.probability, 6)},
        )
