"""The annotations of a dataset, of whatever kind: read, and checked before any slow step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, in_short, listed
from nucseg_jax.io.label_maps import check_areas, check_for_training, pieces_of, read_label_map

from . import annotations, geojson_annotations
from .annotations import Drawing, check_usable
from .geojson_objects import plain_class
from .sources import is_outlines


def read_labels(
    path: Path, shape: tuple[int, int], *, mpp: float, region_classes: Sequence[str] = ()
) -> Drawing:
    """The nuclei of outlines (.xml, .geojson) or of a label map, of which nothing is skipped.

    Args:
      path: of the annotation.
      shape: (height, width) of the image in pixels.
      mpp: µm a pixel of the image.
      region_classes: names of classes of regions in GeoJSON, besides Region*.

    Raises:
      DataError: as `rasterize`, `geojson_annotations.draw` and `read_label_map`; the areas are not those of
        nuclei; or most of the outlines cannot be used.
    """
    if is_outlines(path):
        if path.suffix.lower() == ".xml":
            drawing = annotations.draw(path, shape)
        else:
            drawing = geojson_annotations.draw(path, shape, mpp=mpp, region_classes=region_classes)
        check_usable(path, drawing)
    else:
        drawing = Drawing(read_label_map(path, shape), 0, {})
    check_areas(path, drawing.labels)
    return drawing


class LabelFacts(NamedTuple):
    """What is kept of the annotations that were read, by the image's id.

    Attributes:
      skipped, told, annotated: as `prepare.Preparation` has them.
      mpp: µm a pixel, of annotations that state it.
    """

    skipped: dict[str, dict[str, Any]]
    told: dict[str, dict[str, int]]
    annotated: dict[str, float]
    mpp: dict[str, float]

    def annotated_share(self, shapes: Mapping[str, tuple[int, int]]) -> float:
        """Of the pixels of all images, by id their heights and widths."""
        pixels = {image_id: height * width for image_id, (height, width) in shapes.items()}
        annotated = sum(self.annotated.get(image_id, 1) * count for image_id, count in pixels.items())
        return annotated / sum(pixels.values())


def verify_labels(
    files: Mapping[str, tuple[Path, tuple[int, int]]], mpp: float, region_classes: Sequence[str]
) -> LabelFacts:
    """Read every annotation once.

    Args:
      files: by the image's id the annotation's file, and the image's height and width.
      mpp, region_classes: as for `read_labels`.

    Raises:
      DataError: as `read_labels`; label maps that are masks or maps of classes.
      UserError: no object has a class of `region_classes`.
    """
    facts, pieces, classes = LabelFacts({}, {}, {}, {}), {}, set[str]()
    for image_id, (path, shape) in files.items():
        drawing = read_labels(path, shape, mpp=mpp, region_classes=region_classes)
        if drawing.skipped:
            facts.skipped[image_id] = {"outlines": drawing.outlines, "skipped": drawing.skipped}
        classes |= drawing.classes
        if drawing.told:
            facts.told[image_id] = dict(drawing.told)
        if drawing.unannotated is not None:
            facts.annotated[image_id] = 1 - float(drawing.unannotated.mean())
        if drawing.mpp is not None:
            facts.mpp[image_id] = drawing.mpp
        if not is_outlines(path):
            pieces[path] = pieces_of(drawing.labels)
    check_for_training(pieces)
    check_named(region_classes, classes)
    return facts


def check_named(region_classes: Sequence[str], classes: set[str]) -> None:
    """Raise UserError where a class of regions that is named is that of no object of any file.

    Args:
      region_classes: as for `read_labels`.
      classes: of the objects of all files.
    """
    known = {plain_class(name) for name in classes}
    for name in region_classes:
        if plain_class(name) not in known:
            there = listed([in_short(found) for found in sorted(classes)]) if classes else "none"
            raise UserError(
                f"--region-class {name!r}: no object of the GeoJSON files has this class. Their classes are: "
                f"{there}. Give one of them, or omit the option"
            )
