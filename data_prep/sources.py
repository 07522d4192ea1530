"""Find the image and the annotation of every id in the folders people really have.

In each source folder, or up to two folders below it (an unpacked download):
  * ``Tissue Images/`` or ``images/`` with ``ID.tif`` (or .png, .jpg, .svs, …: `slides.SUFFIXES`);
  * ``Annotations/`` with ``ID.xml`` or ``ID.geojson`` (.geojson.gz, .json); ``Labels/``,
    ``Label Maps/`` or ``masks/`` with ``ID.png`` (.tif, .npy) label maps;
  * or images and annotations side by side, as in the challenge's test download: ``ID.tif`` with
    ``ID.xml`` or ``ID.geojson``, or with the label map ``ID_label.png`` (.tif, .npy).
GeoJSON may also have the image's whole name before its ending, or that without ``.ome``, as QuPath names it:
``ID.tif.geojson`` of ``ID.tif``, ``a.geojson`` of ``a.ome.tif``, whose ID is ``a.ome``. A ``.json`` that is
of no image is another program's, and is not looked at.
Outlines win over a label map: they are what the others were made from. Links to folders are followed.
"""

import contextlib
import difflib
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nucseg_jax.errors import DataError
from nucseg_jax.io.label_maps import LABEL_SUFFIXES
from nucseg_jax.slides import SUFFIXES

LABEL_FOLDERS = ("annotations", "labels", "label maps", "label_maps", "masks")
LABEL_ENDING = "_label"
GEOJSON_SUFFIXES = (".geojson", ".geojson.gz", ".json", ".json.gz")
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
    """What the source folders hold: the files of every id, as found by `scan`.

    Attributes:
      roots: the source folders.
      folders: those of them, and below them, that hold images or annotations.
    """

    roots: tuple[Path, ...]
    folders: list[Path] = field(default_factory=list)
    images: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def place_geojson(self, files: Iterable[Path]) -> None:
        """Add GeoJSON files to the labels, each under the id of its image, once all images are known."""
        names = {path.name: image_id for image_id, paths in self.images.items() for path in paths}
        of_ome = {i.removesuffix(".ome"): i for i in self.images if i.endswith(".ome")}
        for path in files:
            name, suffix = _split_geojson(path)
            image_id = name if name in self.images else names.get(name, of_ome.get(name))
            if image_id is not None or suffix.startswith(".geojson"):
                _append(self.labels[image_id or name], path)

    def ids(self) -> list[str]:
        """Every id that has an image or a label, sorted."""
        return sorted({*self.images, *self.labels})

    def root_of(self, image_id: str) -> Path | None:
        """The source folder that an id's files lie in; None where it has no files."""
        return next(iter(self._files_by_root(image_id)), None)

    def check_unique(self, ids: Iterable[str]) -> None:
        """Raise DataError where an id has files in several source folders."""
        found = [self._files_by_root(image_id) for image_id in ids]
        repeated = [list(files.values()) for files in found if len(files) > 1]
        if repeated:
            first, second = repeated[0][:2]
            others = f" (as do {len(repeated) - 1} more pairs)" if len(repeated) > 1 else ""
            raise DataError(
                f"{first} and {second}: have one id{others}, and an id must be unique over all --source "
                "folders. Rename the image and its annotation in one of them, or leave them out"
            )

    def _files_by_root(self, image_id: str) -> dict[Path, Path]:
        """By source folder one of the files of an id in it, its image if there is one."""
        files = [*self.images.get(image_id, []), *self.labels.get(image_id, [])]
        by_root: dict[Path, Path] = {}
        for path in files:
            by_root.setdefault(next(root for root in self.roots if path.is_relative_to(root)), path)
        return by_root

    def pairs(self, ids: Iterable[str]) -> dict[str, Pair]:
        """The files of every id, in the order of `ids`.

        Raises:
          DataError: an id has files in several source folders; else one error that lists every id without
            an image or without a label (with files of a similar name) and every id with several.
        """
        ids = list(ids)
        self.check_unique(ids)
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
            raise DataError(
                f"{self._shown_roots()}: {len(problems)} of {len(ids)} images lack a file, or have several:",
                *(f"  {problem}" for problem in problems),
                f"Looked in: {self._looked_in()}",
                "Images are expected as 'Tissue Images/ID.tif', annotations as 'Annotations/ID.xml', "
                "'Annotations/ID.geojson' or 'Labels/ID.png', or ID.tif, ID.xml, ID.geojson and ID_label.png "
                "side by side",
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
        return ", ".join(used) if used else f"{self._shown_roots()} (no images or annotations in it)"

    def _shown_roots(self) -> str:
        return ", ".join(str(root) for root in self.roots)


def scan(*folders: str | os.PathLike[str]) -> Source:
    """List the images and annotations of one or more source folders; opens none of them.

    Raises:
      DataError: see `check_folders`; a folder in one cannot be read; a link to a folder leads nowhere.
    """
    roots = tuple(Path(folder) for folder in folders)
    check_folders(roots)
    source = Source(roots)
    geojson = [path for root in roots for path in _scan_root(source, root)]
    source.place_geojson(geojson)
    return source


def check_folders(folders: Iterable[Path]) -> None:
    """Raise DataError where a source folder does not exist, or is inside of another one."""
    folders = list(folders)
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Give the one that holds 'Tissue Images'")
    for inner, outer in itertools.permutations(folders, 2):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise DataError(f"{inner}: is {outer}, or inside of it. Give each --source folder once")


def _scan_root(source: Source, root: Path) -> list[Path]:
    """Add what a source folder holds but for its GeoJSON files, which are returned."""
    above = {_identity(folder) for folder in (root, *root.resolve().parents)}
    geojson: list[Path] = []
    for folder, names in _walk(root, MAX_DEPTH, above):
        before = len(source.images) + len(source.labels)
        found = [folder / name for name in names if _split_geojson(folder / name)[1]]
        for name in names:
            _add(source, folder / name)
        if len(source.images) + len(source.labels) > before or found:
            source.folders.append(folder)
        geojson += found
    return geojson


def _walk(folder: Path, deeper: int, above: set[tuple[int, int]]) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it, links to folders among them, with the names of their files, both sorted.

    Args:
      folder: hidden files and folders in it are left out.
      deeper: levels of folders to go down.
      above: identities of the folder and of those that it is in. A link that leads back to one of them is
        not followed: what it shows is found already.

    Raises:
      DataError: a folder cannot be read, or a link without a suffix leads nowhere.
    """
    subfolders, names = [], []
    for entry in _entries(folder):
        if not _is_folder(entry):
            names.append(entry.name)
        elif deeper and entry.name not in IGNORED_FOLDERS:
            subfolders.append(folder / entry.name)
    yield folder, names
    for subfolder in subfolders:
        identity = _identity(subfolder)
        if identity not in above:
            yield from _walk(subfolder, deeper - 1, {*above, identity})


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with _readable(folder), os.scandir(folder) as found:
        return sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    path = Path(entry.path)
    with _readable(path):
        if entry.is_symlink() and not path.suffix and not path.exists():
            raise DataError(f"{path}: is a link to what is not there. Mend it, or delete it")
        return entry.is_dir()


def _identity(folder: Path) -> tuple[int, int]:
    with _readable(folder):
        found = folder.stat()
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise DataError where the system does not let the block look at a file or folder."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}), and may hold images. Make it readable, or take it "
            "out of the source folder"
        ) from error


def _add(source: Source, path: Path) -> None:
    """Sort one file into images or labels, by its folder and its name."""
    suffix, folder = path.suffix.lower(), path.parent.name.lower()
    in_labels = folder in LABEL_FOLDERS and path.parent not in source.roots
    marked = path.stem.endswith(LABEL_ENDING)
    if suffix == ".xml":
        _append(source.labels[path.stem], path)
    elif suffix in LABEL_SUFFIXES and (in_labels or marked):
        _append(source.labels[path.stem.removesuffix(LABEL_ENDING)], path)
    elif suffix in SUFFIXES and not in_labels:
        _append(source.images[path.stem], path)


def _append(paths: list[Path], path: Path) -> None:
    """Add a path unless it is another way, by a link, to a file that is there."""
    if not any(_is_same(path, other) for other in paths):
        paths.append(path)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # whoever opens it says what is wrong
        return False


def _count(paths: list[Path], kind: str) -> str:
    if len(paths) > 1:
        return f"{len(paths)} {kind}s, keep one of {', '.join(str(path) for path in paths)}"
    return f"1 {kind}" if paths else f"no {kind}"


def _preferred(labels: list[Path]) -> list[Path]:
    """The files of outlines if there are any, else the label maps."""
    return [path for path in labels if is_outlines(path)] or labels


def is_outlines(path: Path) -> bool:
    """Whether an annotation is outlines, and not a label map, by its name."""
    return path.suffix.lower() == ".xml" or bool(_split_geojson(path)[1])


def _split_geojson(path: Path) -> tuple[str, str]:
    """The name of a file without its ending and this ending, in small letters; "" where it is no GeoJSON."""
    suffix = next((s for s in GEOJSON_SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name.removesuffix(path.name[len(path.name) - len(suffix) :]), suffix
