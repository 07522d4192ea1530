"""Instance label maps in files, each checked on the way in."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from skimage import measure

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.images import MODES, ORIENTATION, count_frames, decode, open_image, orientation

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

_PIECE_PX = 10  # smaller pieces are crumbs
_MOST_PIECES = 3  # of a number of a map for training
# Of a number, on average: in MoNuSeg and CoNSeP at most 1.003. A map with few nuclei may have more by chance,
# several maps together not.
_MOST_PIECES_ON_AVERAGE, _MOST_PIECES_IN_ALL_MAPS = 2.0, 1.5
_FEW_NUMBERS = 10  # so many classes a dataset may have; nuclei have more numbers

_JUDGED_PX = 10_000  # a smaller image may lie in one nucleus
_MOST_OF_IMAGE = 0.5  # that a nucleus covers
_MOST_COVERED = 0.95  # of an image, by all nuclei

_REMEDY = (
    "In a label map each nucleus has a number of its own: number the pieces with "
    "skimage.measure.label(mask > 0, connectivity=1) and save that with 16 bits"
)


def read_label_map(path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Read an instance label map: 0 is background, every nucleus has its own number.

    Args:
      path: PNG (8 or 16 bits), TIFF (8 to 32 bits) or NPY (integers).
      shape: (height, width) of the image the map belongs to.

    Returns:
      int32 [height, width]; the numbers as they are, not necessarily contiguous.

    Raises:
      DataError: the file is missing, truncated, of another kind, or `check` refuses what it holds. A mask
        passes: see `pieces_of`.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path, tuple[int, int]], np.ndarray]] = {
        ".npy": _read_npy,
        ".tif": _read_tiff,
        ".tiff": _read_tiff,
        ".png": _read_png,
    }
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: a label map must be one of {', '.join(LABEL_SUFFIXES)}")
    return check(path, readers[path.suffix.lower()](path, shape), shape)


def check(path: Path, labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """What a file holds, as int32 [height, width].

    Args:
      path: of the file, for messages.
      labels: as read.
      shape: (height, width) of the image the map belongs to.

    Raises:
      DataError: not 2-D, not integer, negative, above the int32 range or of another size than the image.
    """
    check_size(path, labels.shape, shape)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{path}: holds {in_short(labels.dtype)}, but a label map holds integers (e.g. int32). Save the "
            "numbers of the nuclei; of a mask, number its pieces with skimage.measure.label"
        )
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise DataError(
            f"{path}: has labels from {labels.min()} to {labels.max()}, but they must be 0 "
            f"(background) to {np.iinfo(np.int32).max}. Renumber them"
        )
    return labels.astype(np.int32)


def check_size(path: Path, found: tuple[int, ...], shape: tuple[int, int]) -> None:
    """Raise DataError unless an array is 2-D and as large as its image; readers look before they decode it.

    Args:
      path: of the file, for messages.
      found: the shape of what it holds.
      shape: (height, width) of the image.
    """
    if len(found) != 2:
        raise DataError(
            f"{path}: has shape {found}, but a label map is 2-D: one number a pixel. A picture "
            "with a colour for each nucleus does not do, since colours can repeat: export the numbers"
        )
    if tuple(found) != tuple(shape):
        raise DataError(
            f"{path}: is {_size(found)} (height x width), but its image is {_size(shape)}. "
            "Check that the two belong together; don't rescale labels"
        )


Pieces = dict[int, int]
"""By number, how many separate pieces have it in a label map: one, where the nucleus is whole."""


def pieces_of(labels: np.ndarray) -> Pieces:
    """The pieces of each number, but for crumbs, of int32 [height, width].

    A number may have a few: outlines cross themselves, and nuclei lie over one another. In MoNuSeg and CoNSeP
    none has more than two.
    """
    pieces = measure.label(labels, connectivity=2)
    # The number and the size of each piece, in the order of the pieces.
    numbers = np.zeros(pieces.max(initial=0) + 1, np.int64)
    numbers[pieces.ravel()] = labels.ravel()
    sizes = np.bincount(pieces.ravel(), minlength=len(numbers))
    counted, counts = np.unique(numbers[1:][sizes[1:] >= _PIECE_PX], return_counts=True)
    return dict(zip(counted.tolist(), counts.tolist(), strict=True))


def looks_like_mask(pieces: Pieces) -> str | None:
    """Why one map is a mask or a map of classes, one number for many nuclei; None where it need not be."""
    if not pieces or _average([pieces]) <= _MOST_PIECES_ON_AVERAGE:
        return None
    numbers = "one number" if len(pieces) == 1 else f"{len(pieces)} numbers"
    return f"{sum(pieces.values())} separate pieces have {numbers}, so this is a mask or a map of classes"


def looks_like_picture(labels: np.ndarray) -> str | None:
    """Why the areas in int32 [height, width] cannot be those of nuclei; None where they may be.

    Its background is not 0, or an outline goes round the whole field, or its numbers are those of a picture.
    """
    if labels.size < _JUDGED_PX:
        return None
    numbers, areas_px = np.unique(labels[labels > 0], return_counts=True)
    covered = areas_px.sum()
    if not covered:
        return None
    largest = areas_px.argmax()
    if areas_px[largest] > _MOST_OF_IMAGE * labels.size:
        return f"number {numbers[largest]} covers {areas_px[largest] / labels.size:.0%} of the image"
    if covered > _MOST_COVERED * labels.size:
        return f"its {len(numbers):,} numbers cover {covered / labels.size:.0%} of the image"
    if areas_px[areas_px < _PIECE_PX].sum() > covered / 2:
        return f"most of its {len(numbers):,} numbers have fewer than {_PIECE_PX} pixels, as in a picture"
    return None


def check_areas(path: Path, labels: np.ndarray) -> None:
    """Raise DataError for annotations in `path`, int32 [height, width], that `looks_like_picture` doubts."""
    if reason := looks_like_picture(labels):
        raise DataError(f"{path}: {reason}. Background must be 0, and each nucleus a number of its own")


def check_for_training(maps: Mapping[Path, Pieces]) -> None:
    """Refuse masks and maps of classes among the label maps of a dataset.

    Args:
      maps: by file, what `pieces_of` found.

    Raises:
      DataError: a map is a mask or of classes, or has a number with many pieces; or all have the same few
        numbers, each for several pieces.
    """
    for path, pieces in maps.items():
        if reason := looks_like_mask(pieces):
            raise DataError(f"{path}: {reason}. {_REMEDY}")
        number = max(pieces, key=pieces.__getitem__, default=0)
        if pieces.get(number, 0) > _MOST_PIECES:
            raise DataError(f"{path}: number {number} stands for {pieces[number]} separate pieces. {_REMEDY}")
    filled = {path: pieces for path, pieces in maps.items() if pieces}
    numbers = sorted({number for pieces in filled.values() for number in pieces})
    if len(filled) < 2 or len(numbers) > _FEW_NUMBERS:
        return
    if (average := _average(list(filled.values()))) > _MOST_PIECES_IN_ALL_MAPS:
        raise DataError(
            f"{next(iter(filled))}: this and the other label maps have only the numbers "
            f"{', '.join(map(str, numbers))}, of {average:.1f} separate pieces each, so they are masks or "
            f"maps of classes. {_REMEDY}"
        )


def _average(maps: Sequence[Pieces]) -> float:
    """Pieces a number of a map."""
    return sum(sum(pieces.values()) for pieces in maps) / sum(len(pieces) for pieces in maps)


def _check_upright(path: Path, tag: int | None) -> None:
    """Raise DataError for a map that some programs turn and others do not: its image is not turned."""
    if tag is not None and 1 < tag <= 8:
        raise DataError(
            f"{path}: has orientation tag {tag}, by which some programs turn it and others do not. Save it "
            "again without the tag, as it fits the stored pixels of its image, which is not turned"
        )


def _check_alone(path: Path, count: int) -> None:
    """Raise DataError unless a file holds one map."""
    if count != 1:
        raise DataError(f"{path}: holds {count} images, but a label map is one. Give one a file")


def _read_png(path: Path, shape: tuple[int, int]) -> np.ndarray:
    with open_image(path, formats=("PNG",)) as image:  # others change numbers, or are not what the name says
        _check_alone(path, count_frames(image, path))
        # A palette's indices are the numbers that whoever saved the map wrote; "1" decodes to bool.
        if image.mode not in ("L", "I", "I;16", "I;16B", "P"):
            raise DataError(
                f"{path}: is {MODES.get(image.mode, image.mode)}, but a label map has one integer "
                "channel (8 or 16 bits). A picture with a colour for each nucleus does not do, since "
                "colours can repeat: export the numbers"
            )
        check_size(path, (image.height, image.width), shape)
        labels = decode(image, path)
        _check_upright(path, orientation(image))
        return labels


def _read_tiff(path: Path, shape: tuple[int, int]) -> np.ndarray:
    # Pillow knows no uint32 TIFF, and clips some 16-bit ones.
    from nucseg_jax.io.tiff_files import check_pieces, open_tiff

    try:
        with open_tiff(path) as file:
            _check_alone(path, sum(len(series.pages) for series in file.series))
            labels = file.series[0]
            check_size(path, labels.shape, shape)
            check_pieces(labels.keyframe, file.filehandle.size)
            _check_upright(path, labels.keyframe.tags.valueof(ORIENTATION))
            return labels.asarray()
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # tifffile's codecs raise errors of many types on damaged files
        raise DataError(
            f"{path}: cannot be read as a TIFF label map ({in_short(error)}). Download or export it again"
        ) from error


def _read_npy(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        # Mapped, so that a header cannot ask for more memory than the file has bytes.
        labels = np.load(path, mmap_mode="r", allow_pickle=False)
        check_size(path, labels.shape, shape)
        return np.array(labels)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # NumPy reads the header as Python's text, which may fail in many ways
        raise DataError(
            f"{path}: cannot be read as a NumPy array without pickles ({in_short(error)}). Save it again "
            "with np.save(path, labels.astype('int32'))"
        ) from error


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
