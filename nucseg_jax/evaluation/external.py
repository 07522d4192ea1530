"""Label maps that other tools wrote: found by the images' ids, read and checked."""

import difflib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io import label_maps, mat_files
from nucseg_jax.io.files import is_file_or_dangling

SUFFIXES = (*label_maps.LABEL_SUFFIXES, ".mat")
ENDINGS = ("", "_label", "_mask", "_pred")
MAT_KEY = "inst_map"


def find(folder: str | os.PathLike[str], ids: Iterable[str]) -> dict[str, Path]:
    """The label map of every image: ID, ID_label, ID_mask or ID_pred with one of SUFFIXES.

    Opens no file, and looks in no folder below. The case of what follows the id is ignored.

    Args:
      folder: that another tool wrote, with one file an image; other files in it do not matter.
      ids: of the images.

    Returns:
      id → file, in the order of `ids`.

    Raises:
      DataError: no such folder; or one error that lists every id without a file (with files of a similar
        name) and every id with several.
    """
    root, wanted = Path(folder), list(dict.fromkeys(ids))
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Give the one that holds the label maps")
    visible = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    found: dict[str, list[Path]] = defaultdict(list)
    strays: dict[str, list[Path]] = defaultdict(list)
    for path in (path for path in visible if is_file_or_dangling(path)):
        image_id = _id_of(path, set(wanted))
        (strays[path.stem] if image_id is None else found[image_id]).append(path)
    problems = [_problem(i, found[i], strays) for i in wanted if len(found[i]) != 1]
    if problems:
        folders = ", ".join(path.name for path in visible if path.is_dir())
        raise DataError(
            f"{root}: {len(problems)} of {len(wanted)} images have no label map, or several:",
            *(f"  {problem}" for problem in problems),
            f"Looked for {', '.join(f'ID{ending}' for ending in ENDINGS)} with {', '.join(SUFFIXES)}"
            + (f"; not in the folders below: {folders}" if folders else ""),
        )
    return {image_id: found[image_id][0] for image_id in wanted}


def read(path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Read a label map of another tool: 0 is background, every nucleus has its own number.

    Args:
      path: PNG (8 or 16 bits), TIFF (8 to 32 bits), NPY (integers), or MAT up to version 7 with the
        variable `inst_map`, as HoVer-Net writes it.
      shape: (height, width) of the image the map belongs to.

    Returns:
      int32 [height, width]; the numbers as they are, not necessarily contiguous.

    Raises:
      DataError: the file is missing, damaged, of another kind, or holds no label map of this size.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: a label map must be one of {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".mat":
        return label_maps.check(path, _read_mat(path, shape), shape)
    return label_maps.read_label_map(path, shape)


def note(path: Path, labels: np.ndarray) -> str | None:
    """What should be said of another tool's map: that it is a mask or a picture; None where it is neither."""
    pieces = label_maps.pieces_of(labels)
    reason = label_maps.looks_like_mask(pieces) or label_maps.looks_like_picture(labels)
    return None if reason is None else f"{path}: {reason}. Its scores count each number as one nucleus"


def _id_of(path: Path, ids: set[str]) -> str | None:
    """Whose label map a file is by its name; an id that looks as if it had an ending comes first."""
    if path.suffix.lower() not in SUFFIXES:
        return None
    for ending in ENDINGS:
        image_id = path.stem[: len(path.stem) - len(ending)]
        if path.stem.lower().endswith(ending) and image_id in ids:
            return image_id
    return None


def _problem(image_id: str, paths: list[Path], strays: dict[str, list[Path]]) -> str:
    """A line of the error: an id's files, or names that may be its, renamed."""
    if paths:
        return f"{image_id}: {len(paths)} files, keep one of {', '.join(path.name for path in paths)}"
    inside = [stem for stem in strays if image_id.lower() in stem.lower()]  # a tool's own ending
    near = inside[:2] or difflib.get_close_matches(image_id, list(strays), n=2)
    names = ", ".join(path.name for stem in near for path in strays[stem])
    return f"{image_id}: none" + (f" (renamed? {names})" if names else "")


def _read_mat(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The variable `inst_map`; MATLAB's own numbers are doubles, so whole ones pass."""
    try:
        variables = {variable.name: variable for variable in mat_files.variables(path)}
        if MAT_KEY not in variables:
            raise DataError(
                f"{path}: has no variable {MAT_KEY!r}, which HoVer-Net's label maps are in, but "
                f"{in_short(', '.join(variables)) or 'none at all'}. Save the map under that name, or as NPY"
            )
        found = variables[MAT_KEY]
        if found.dtype is None:
            raise DataError(
                f"{path}: its variable {MAT_KEY} is {found.kind}, but a label map is a matrix of numbers. "
                "Save it as one"
            )
        label_maps.check_size(path, found.shape, shape)
        labels = found.values()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except mat_files.NewerVersionError as error:
        raise DataError(
            f"{path}: is a MAT file of version 7.3 (HDF5), which is not read. Save it in MATLAB with "
            f"save(file, '{MAT_KEY}', '-v7'), or as NPY"
        ) from error
    except (OSError, mat_files.MatError, MemoryError) as error:
        raise DataError(
            f"{path}: cannot be read as a MAT file ({in_short(error)}). Export it again"
        ) from error
    exact = labels.dtype.kind == "f" and bool((np.abs(labels) <= 2**53).all())  # not of NaN
    if exact and (labels == np.rint(labels)).all():
        return labels.astype(np.int64)
    return labels
