"""Annotated regions cut out of slides, for `data_prep.folder`: ``python -m data_prep.cut SLIDE …``.

A piece is an image SLIDE_1.tif, with some tissue around its regions, and SLIDE_1.geojson, the regions and the
objects in it (`cut_pieces`, `cut_features`). `pieces.json` says where in its slide each piece lies.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import shapely
import tifffile
from tqdm import tqdm

from nucseg_jax.errors import DataError, UserError, shown
from nucseg_jax.io.files import appearing_folder, replacing, write_text
from nucseg_jax.io.geojson_files import Feature, read_features
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.regions import Regions, files_in
from nucseg_jax.slides import Slide, files_of, open_slide
from nucseg_jax.slides.image_file import MOST_PIXELS
from nucseg_jax.slides.resolution import check_given
from nucseg_jax.slides.white import check_given as check_white

from .annotations import shown_counts
from .cut_features import text_of
from .cut_pieces import ObjectsByPlace, Piece, pieces_of
from .geojson_objects import NEVER, Objects, sort
from .label_files import check_named

INDEX = "pieces.json"
"""In the folder that is made: where each piece lies."""

_TILE_PX = 512
_UM_A_CM = 1e4


class _Annotations(NamedTuple):
    """Of a slide."""

    path: Path
    features: list[Feature]


class _Cutting(NamedTuple):
    """Where pieces go, and what `cut` was given for all slides."""

    folder: Path
    margin_um: float
    region_classes: Sequence[str]
    to_mpp: float | None


def cut(
    slides: Sequence[Path],
    annotations: Path,
    out: Path,
    *,
    margin_um: float,
    region_classes: Sequence[str],
    mpp: float | None,
    to_mpp: float | None,
    white: int | None,
    crop: bool,
    overwrite: bool,
) -> None:
    """Cut the annotated regions out of slides, into a folder that appears when it is complete; prints what.

    Args:
      slides: slides and images, and folders of them (`files_of`).
      annotations: GeoJSON of the slide; or a folder that has SLIDE.geojson (.geojson.gz) of each.
      out: folder to make.
      margin_um: µm around the box of a region.
      region_classes: names of classes of regions, besides Region*.
      mpp, white, crop: as of `open_slide`.
      to_mpp: µm a pixel of the pieces; None: the slide's own.
      overwrite: replace what this command has made before.

    Raises:
      UserError: a number is out of its range; two slides of one name; a slide without a file, without regions
        or without a resolution; the folder is there; a piece is too large to be read whole.
      DataError: a file cannot be used; a region lies off its slide.
      DiskFullError: the disk is full.
    """
    if not (math.isfinite(margin_um) and margin_um >= 0):
        raise UserError(f"--margin-um {margin_um:g}: must be 0 µm or more, such as 32")
    if mpp is not None:
        check_given(mpp)
    if to_mpp is not None:
        check_given(to_mpp, "--to-mpp")
    if white is not None:
        check_white(white)
    sources = files_of(slides)
    _check_stems(sources)
    _check_out(out, overwrite)
    read = [_Annotations(path, read_features(path)[0]) for path in _files(sources, annotations)]
    check_named(region_classes, {f.classification for of in read for f in of.features} - {""})
    with appearing_folder(out) as temporary:
        cutting = _Cutting(temporary, margin_um, region_classes, to_mpp)
        index: list[dict[str, Any]] = []
        for source, of_slide in zip(sources, read, strict=True):
            with open_slide(source, mpp, white=white, crop=crop) as slide:
                index += _cut_slide(slide, of_slide, cutting)
        write_text(temporary / INDEX, json.dumps({"version": 1, "pieces": index}, indent=1) + "\n")
    images = f"{len(index)} image{'s' if len(index) > 1 else ''}"
    print(shown(f"{out}: {images}. Next: nucseg prepare folder --source {out} --name NAME --test ID"))


def _check_stems(sources: Sequence[Path]) -> None:
    """Raise UserError where there is no slide, or two would give pieces of one name."""
    if not sources:
        raise UserError("no slide is named: give slides, images or folders of them")
    by_stem: dict[str, Path] = {}
    for source in sources:
        other = by_stem.setdefault(source.stem.casefold(), source)
        if other != source:
            raise UserError(
                f"{other} and {source}: the pieces of both would be named {source.stem}_1. Give them one "
                "after the other, each with an --out of its own"
            )


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise UserError for a folder that must not be replaced: nothing is deleted that was not made here."""
    remove_leftovers(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"--out {out}: is a file. Name a folder")
    names = {path.name for path in out.iterdir()}
    if strange := sorted(names - _made(out)):
        raise UserError(
            f"--out {out}: holds files that this command has not made, such as {strange[0]}. Name another "
            "folder"
        )
    if names and not overwrite:
        raise UserError(f"--out {out}: is there already. Give --overwrite to replace it, or another --out")


def _made(folder: Path) -> set[str]:
    """The names of the files that this command has made in a folder, as its index says."""
    if not (folder / INDEX).is_file():
        return set()
    index = read_json(folder / INDEX, "Name another folder")
    pieces = index.get("pieces") if isinstance(index, dict) else None
    ids = [piece.get("id") for piece in pieces if isinstance(piece, dict)] if isinstance(pieces, list) else []
    return {INDEX, *(f"{piece}{ending}" for piece in ids for ending in (".tif", ".geojson"))}


def _files(sources: Sequence[Path], annotations: Path) -> list[Path]:
    """The file of each slide."""
    if annotations.is_dir():
        return files_in(annotations, sources, [source.stem for source in sources], "--annotations")
    if len(sources) > 1:
        raise UserError(
            f"--annotations {annotations}: is for one slide, and there are {len(sources)}. Give a folder "
            "that has a file of each slide, of its name with .geojson or .geojson.gz in place of its ending"
        )
    return [annotations]


def _cut_slide(slide: Slide, of_slide: _Annotations, cutting: _Cutting) -> list[dict[str, Any]]:
    """Write the pieces of a slide, and print what they are; returns what the index says of them."""
    for note in slide.notes:
        print(shown(f"{slide.path}: {note}"))
    if slide.mpp is None:
        raise UserError(f"{slide.path}: has no resolution ({slide.mpp_source}). Give it with --mpp")
    path, features = of_slide
    found = sort(features, path, mpp=slide.mpp, region_classes=cutting.region_classes)
    _check_regions(slide, path, found)
    scale = 1.0 if cutting.to_mpp is None else slide.mpp / cutting.to_mpp
    pieces = pieces_of(found, slide.size, math.ceil(cutting.margin_um / slide.mpp))
    for piece in pieces:
        _check_readable(slide, piece, scale)
    by_place = ObjectsByPlace(features, found)
    index, kept = [], set[int]()
    for i, piece in enumerate(tqdm(pieces, desc=shown(slide.path.name), disable=None, leave=False), 1):
        within = by_place.within(piece)
        kept |= within
        name = f"{slide.path.stem}_{i}"
        _write_image(cutting.folder / f"{name}.tif", slide, piece, scale)
        chosen = [features[number - 1] for number in sorted(within | piece.regions)]
        left, top = piece.corner(scale)
        text = text_of(chosen, piece.regions, left=left, top=top, scale=scale)
        write_text(cutting.folder / f"{name}.geojson", text)
        index.append(_entry(name, slide, piece, scale))
    _tell(slide, found, pieces, kept, scale)
    return index


def _check_regions(slide: Slide, path: Path, found: Objects) -> None:
    """Raise DataError where there is no region, or one of them lies off the slide."""
    if not found.regions:
        raise DataError(
            f"{path}: has no region of {slide.path.name}, only {len(found.kinds)} objects that are none. "
            "Give the rectangle in which all nuclei are annotated the class Region* in QuPath, or name its "
            "class with --region-class. A small image that is annotated as a whole needs no cutting: it goes "
            "to nucseg prepare folder as it is"
        )
    named = {f"region {i}": area for i, area in enumerate(found.regions, 1)}
    Regions(named, path=path).check_on(slide.path, slide.size)


def _check_readable(slide: Slide, piece: Piece, scale: float) -> None:
    height, width = piece.scaled(scale)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"{slide.path}: {len(piece.regions)} regions whose boxes meet are a piece of {height}×{width} "
            f"pixels, and images of at most {MOST_PIXELS:,} can be prepared. Draw smaller regions, farther "
            "apart, or give a smaller --margin-um"
        )


def _write_image(path: Path, slide: Slide, piece: Piece, scale: float) -> None:
    """Write the pixels of a piece as a TIFF that has its resolution in its tags."""
    assert slide.mpp is not None
    mpp, (left, top) = slide.mpp / scale, piece.corner(scale)
    pixels = slide.region(top, left, *piece.scaled(scale), mpp)
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            pixels,
            photometric="rgb",
            tile=(_TILE_PX, _TILE_PX),
            compression="zlib",
            predictor=True,
            resolution=(_UM_A_CM / mpp, _UM_A_CM / mpp),
            resolutionunit="CENTIMETER",
            metadata=None,
        )


def _entry(name: str, slide: Slide, piece: Piece, scale: float) -> dict[str, Any]:
    """Where a piece lies, for the index: in base pixels, from the corner of what QuPath shows."""
    assert slide.mpp is not None
    height, width = piece.size
    box = {"x": piece.left, "y": piece.top, "width": width, "height": height}
    return {"id": name, "slide": slide.path.name, "mpp": slide.mpp, "image_mpp": slide.mpp / scale, **box}


def _tell(slide: Slide, found: Objects, pieces: Sequence[Piece], kept: set[int], scale: float) -> None:
    """Print what was cut out of a slide, and what was not."""
    assert slide.mpp is not None
    objects = len(found.nuclei) + len(found.ignored)
    canvas = shapely.box(0, 0, slide.size[1], slide.size[0])
    seen = shapely.difference(shapely.union_all(found.regions), shapely.union_all(found.ignored))
    mm2 = shapely.intersection(seen, canvas).area * (slide.mpp / 1000) ** 2
    print(
        shown(
            f"{slide.path}: {len(pieces)} pieces, {len(found.regions)} regions, {len(kept):,} objects, "
            f"{mm2:.4g} mm² annotated"
        )
    )
    if scale != 1:
        print(f"  written at {slide.mpp / scale:g} µm a pixel; the slide has {slide.mpp:g}")
    if objects > len(kept):
        print(f"  {objects - len(kept):,} objects touch no piece, and are left out")
    if found.skipped:
        print(f"  left out {found.skipped.total():,} outlines: {shown_counts(found.skipped)}")
    if found.told[NEVER]:
        print(f"  {found.told[NEVER]:,} {NEVER}")


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare cut`."""
    from nucseg_jax.cli import door

    door("prepare", "cut", arguments=arguments)


if __name__ == "__main__":
    main()
