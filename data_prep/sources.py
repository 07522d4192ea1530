"""Find the image and the annotation of every id in the folders people really have.

In the source folder, or up to two folders below it (an unpacked download):
  * ``Tissue Images/`` or ``images/`` with ``ID.tif`` (or .png, .jpg, ...);
  * ``Annotations/`` with ``ID.xml``; ``Labels/``, ``Label Maps/`` or ``masks/`` with ``ID.png`` (.tif,
    .npy) label maps;
  * or images and annotations side by side, as in the challenge's test download: ``ID.tif`` with
    ``ID.xml``, or with the label map ``ID_label.png`` (.tif, .npy).
An XML file wins over a label map: it is what the others were made from.
"""

import difflib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nucseg_jax.errors import DataError
from nucseg_jax.io.images import IMAGE_SUFFIXES
from nucseg_jax.io.label_maps import LABEL_SUFFIXES

LABEL_FOLDERS = ("annotations", "labels", "label maps", "label_maps", "masks")
LABEL_ENDING = "_label"
MAX_DEPTH = 3  # source / download / download again, as some programs unpack / Tissue Images
# `cache` holds this project's own normalised images when --out is --source.
IGNORED_FOLDERS = ("__MACOSX", "cache")


@dataclass(frozen=True)
class Pair:
    """The two files of an id."""

    image: Path
    label: Path


@dataclass
class Source:
    """What a source folder holds: the files of every id, as found by `scan`."""

    folder: Path
    folders: list[Path] = field(default_factory=list)
    images: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def ids(self) -> list[str]:
        """Every id that has an image or a label, sorted."""
        return sorted({*self.images, *self.labels})

    def pairs(self, ids: Iterable[str]) -> dict[str, Pair]:
        """The files of every id, in the order of `ids`.

        Raises:
          DataError: one error that lists every id without an image or without a label (with files of a
            similar name) and every id with several.
        """
        ids = list(ids)
        pairs, problems = {}, []
        for image_id in ids:
            images = self.images.get(image_id, [])
            labels = _preferred(self.labels.get(image_id, []))
            if len(images) == 1 and len(labels) == 1:
                pairs[image_id] = Pair(images[0], labels[0])
            else:
                problems.append(
                    f"{image_id}: {_count(images, 'image')}, {_count(labels, 'annotation')}"
                    f"{self._similar(image_id, ids)}"
                )
        if problems:
            lines = "\n  ".join(problems)
            raise DataError(
                f"{self.folder}: {len(problems)} of {len(ids)} images lack a file, or have several:\n"
                f"  {lines}\nLooked in: {self._looked_in()}\n"
                "Images are expected as 'Tissue Images/ID.tif', annotations as 'Annotations/ID.xml' or "
                "'Labels/ID.png', or ID.tif, ID.xml and ID_label.png side by side"
            )
        return pairs

    def _similar(self, image_id: str, wanted: list[str]) -> str:
        """Names files that may be those of the id, renamed: similar, and nobody else's."""
        strays = {*self.images, *self.labels} - set(wanted)
        near = difflib.get_close_matches(image_id, sorted(strays), n=2)
        files = [path for name in near for path in self.images.get(name, [])]
        files += [path for name in near for path in self.labels.get(name, [])]
        return f" (renamed? {', '.join(path.name for path in files)})" if files else ""

    def _looked_in(self) -> str:
        used = [str(folder) for folder in self.folders]
        return ", ".join(used) if used else f"{self.folder} (no images or annotations in it)"


def scan(folder: str | os.PathLike[str]) -> Source:
    """List the images and annotations of a source folder; opens none of them.

    Raises:
      DataError: the folder does not exist.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Give the one that holds 'Tissue Images'")
    source = Source(root)
    for parent, subfolders, names in os.walk(root):
        depth = len(Path(parent).relative_to(root).parts)
        subfolders[:] = sorted(
            name
            for name in subfolders
            if depth < MAX_DEPTH and not name.startswith(".") and name not in IGNORED_FOLDERS
        )
        before = len(source.images) + len(source.labels)
        for name in sorted(names):
            if not name.startswith("."):
                _add(source, Path(parent) / name)
        if len(source.images) + len(source.labels) > before:
            source.folders.append(Path(parent))
    return source


def _add(source: Source, path: Path) -> None:
    """Sort one file into images or labels, by its folder and its name."""
    suffix, folder = path.suffix.lower(), path.parent.name.lower()
    in_labels = folder in LABEL_FOLDERS and path.parent != source.folder
    marked = path.stem.endswith(LABEL_ENDING)
    if suffix == ".xml":
        source.labels[path.stem].append(path)
    elif suffix in LABEL_SUFFIXES and (in_labels or marked):
        source.labels[path.stem.removesuffix(LABEL_ENDING)].append(path)
    elif suffix in IMAGE_SUFFIXES and not in_labels:
        source.images[path.stem].append(path)


def _count(paths: list[Path], kind: str) -> str:
    if len(paths) > 1:
        return f"{len(paths)} {kind}s, keep one of {', '.join(str(path) for path in paths)}"
    return f"1 {kind}" if paths else f"no {kind}"


def _preferred(labels: list[Path]) -> list[Path]:
    """The XML files if there are any, else the label maps."""
    return [path for path in labels if path.suffix.lower() == ".xml"] or labels
