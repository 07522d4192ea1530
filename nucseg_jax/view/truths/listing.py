"""Ground truths that are named at the start: which slide each file is of, by its name.

A file is of the slide ID.svs (or of another ending) if it is called

  * ID.geojson or ID.svs.geojson (.geojson.gz, .json, .json.gz), of QuPath, or ID.xml of ImageScope;
  * ID_label.png, ID_mask.png, ID_pred.png or ID.png (.tif, .tiff, .npy, .mat), a label map.

As elsewhere, a link that leads out of a named folder is not followed.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nucseg_jax.errors import UserError, listed, shown
from nucseg_jax.evaluation import external
from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.slides import file_state
from nucseg_jax.view.library import Library, ListedResult, ListedSlide, id_of
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide
from nucseg_jax.view.truths.reading import OUTLINES, is_outlines

_REMEDY = "Name it as the slide: ID.geojson, ID.xml or ID_label.png of ID.svs; and name the slide, too"


def add_truths(
    library: Library, paths: Sequence[Path], region_classes: Sequence[str] = ()
) -> list[ListedResult]:
    """List the ground truths of listed slides, as results.

    Where a slide has outlines and a label map, the outlines are taken, as `nucseg prepare` does.

    Args:
      library: has the slides.
      paths: of files, and of folders of them.
      region_classes: names of QuPath's classes of regions, besides Region*.

    Returns:
      What was listed.

    Raises:
      UserError: a file, or all of a folder, is of no listed slide; a slide has several truths, or cannot be
        opened.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        for file, slides in _pairs(path, library):
            for slide in slides:
                files[slide.id] += [file] if file not in files[slide.id] else []
    truths = []
    for slide in library.slides():
        if slide.id in files:
            file = _preferred(files[slide.id], slide, library.notes)
            truths.append(_truth(file, slide, region_classes))
    for truth in truths:
        library.add_truth(truth)
    return truths


def _pairs(path: Path, library: Library) -> list[tuple[Path, list[ListedSlide]]]:
    """The files at a path, links followed, with the slides that each is of.

    Raises:
      UserError: a file is of none, or of several files; a folder has none.
    """
    if not path.exists():
        raise UserError(f"--truth {path}: no such file or folder")
    found = _inside(path, library.notes) if path.is_dir() else [path]
    images = {slide.opening.path for slide in library.slides()}
    files = {file: ids for file in found if (ids := _ids(file, Path(os.path.realpath(file)) in images))}
    if not files:
        kinds = ", ".join((*OUTLINES, *external.SUFFIXES))
        raise UserError(f"--truth {path}: has no outlines and no label map ({kinds})")
    pairs = {file: slides for file, ids in files.items() if (slides := _slides_of(ids, library))}
    if not pairs:
        raise UserError(f"--truth {path}: is of no slide that is named. {_REMEDY}")
    for file, slides in pairs.items():
        several = list(dict.fromkeys(str(slide.opening.path) for slide in slides))
        if len(several) > 1:
            raise UserError(f"--truth {file}: may be of {listed(several)}. Name one of these slides")
    if left_out := [file.name for file in files if file not in pairs]:
        library.notes.append(shown(f"{path}: files of no slide that is named, left out: {listed(left_out)}"))
    return [(Path(os.path.realpath(file)), slides) for file, slides in pairs.items()]


def _preferred(files: list[Path], slide: ListedSlide, notes: list[str]) -> Path:
    """The truth of a slide that has these.

    Raises:
      UserError: there are several.
    """
    chosen = [file for file in files if is_outlines(file)] or files
    if len(chosen) > 1:
        raise UserError(
            f"--truth: {slide.name} has several truths ({listed([str(file) for file in chosen])}). Name one"
        )
    if len(files) > 1:
        notes.append(shown(f"{slide.name}: its truth is {chosen[0]}, and its label maps are left out"))
    return chosen[0]


def _inside(root: Path, notes: list[str]) -> list[Path]:
    """The files in a folder, but for links out of it."""
    files = sorted(path for path in root.iterdir() if not path.name.startswith(".") and not path.is_dir())
    real = Path(os.path.realpath(root))
    inside = [path for path in files if Path(os.path.realpath(path)).is_relative_to(real)]
    if len(inside) < len(files):
        out = [path.name for path in files if path not in inside]
        notes.append(shown(f"{root}: links out of this folder are left out: {listed(out)}. Name them"))
    return inside


def _ids(file: Path, is_image: bool) -> list[str]:
    """What the slide of a file may be called, the likeliest first; [] where it is no truth.

    Args:
      file: as it is named.
      is_image: it is an image that is listed, and so no ID.png.
    """
    if is_outlines(file):
        ending = max((end for end in OUTLINES if file.name.lower().endswith(end)), key=len)
        return [file.name[: -len(ending)]]
    if file.suffix.lower() not in external.SUFFIXES:
        return []
    endings = [end for end in external.ENDINGS if file.stem.lower().endswith(end) and (end or not is_image)]
    return [file.stem[: len(file.stem) - len(end)] for end in endings]


def _slides_of(ids: Sequence[str], library: Library) -> list[ListedSlide]:
    """The listed slides of the first name that one has; a slide opened in two ways is listed twice."""
    found = ([slide for slide in library.slides() if id_ in _names(slide.opening.path)] for id_ in ids)
    return next(filter(None, found), [])


def _names(slide: Path) -> set[str]:
    """What a truth of a slide may be called: with its ending, without it, and without OME's."""
    return {slide.name, slide.stem, slide.stem.removesuffix(".ome")}


def _truth(path: Path, slide: ListedSlide, region_classes: Sequence[str]) -> ListedResult:
    """A truth as a result, which has what a summary says of a slide."""
    shown_slide = DisplayedSlide(slide.opening)
    notes = []
    mpp = shown_slide.mpp
    if mpp is None:
        mpp = slide.opening.mpp or TYPICAL_MPP
        notes.append(f"{shown_slide.mpp_source}. Areas are for {mpp:g} µm a pixel")
    size = shown_slide.size
    shown_slide.close()
    summary: dict[str, Any] = {
        "source": {"path": str(slide.opening.path), "bytes": file_state(slide.opening.path).bytes},
        "slide": {
            **{"size_px": list(size), "mpp": mpp, "network_mpp": mpp},
            "offset_px": {"x": 0, "y": 0},
        },
        "config": {"request": {"region_classes": list(region_classes)}, "notes": notes},
    }
    id_ = id_of("truth", (path, slide.id))
    return ListedResult(id_, shown(path.name), path, summary, slide.id, "", is_truth=True)
