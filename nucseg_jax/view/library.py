"""What a client may read: slides and results that were named at the start, or made since, by ids of ours.

No client ever names a path. Links are followed once, when something is listed: what lies in a named folder
and leads out of it is not listed. A result names the slide that it was made of, so that both open at once.
"""

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, shown
from nucseg_jax.io.names import is_address
from nucseg_jax.predict.results import SUMMARY, state_of
from nucseg_jax.predict.results_folder import look_into, summary_of
from nucseg_jax.slides import file_state, files_of
from nucseg_jax.slides.zarr_metadata import is_zarr
from nucseg_jax.view.slides.displayed_slide import Opening

_ID_LETTERS = 20


class NotListedError(UserError):
    """There is nothing of this id."""


class ListedSlide(NamedTuple):
    """A slide or an image that a client may see.

    Attributes:
      id: ours.
      name: of the file.
      opening: the file, and how it is opened.
    """

    id: str
    name: str
    opening: Opening

    @property
    def file_id(self) -> str:
        """Of the file: the same for slides that differ only in how it is opened."""
        return id_of("file", self.opening.path)


class ListedResult(NamedTuple):
    """A result of `nucseg predict` that a client may see.

    Attributes:
      id: ours.
      name: of its folder.
      folder: links followed.
      summary: what its summary.json holds.
      slide: the id of the slide that it was made of; None where that is not to be had.
      missing: why there is no slide; "" where there is one.
      is_truth: it is a ground truth (`truths`), and `folder` is its file.
    """

    id: str
    name: str
    folder: Path
    summary: dict[str, Any]
    slide: str | None
    missing: str
    is_truth: bool = False

    def file(self, name: str) -> Path | None:
        """A file of the result; None where there is none, or a link that leads out of the folder."""
        path = Path(os.path.realpath(self.folder / name))
        return path if path.is_file() and path.is_relative_to(self.folder) else None


class Library:
    """All slides and results that clients may see.

    Attributes:
      notes: what was left out, and why, one line each.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._slides: dict[str, ListedSlide] = {}
        self._results: dict[str, ListedResult] = {}
        self._states: dict[str, tuple[int, int] | None] = {}  # of results, when their summaries were read
        self._lock = threading.Lock()

    def add(self, path: Path) -> None:
        """List what a user names: a slide, an image, a folder of them, a result, or a folder of results.

        Raises:
          UserError: there is nothing at the path, or nothing of these in the folder.
        """
        if is_address(path):
            self._add_slide(path)
            return
        if not path.exists():
            raise UserError(f"{path}: no such file or folder. Name a slide, an image, or a folder of results")
        root = Path(os.path.realpath(path))
        if root.is_dir() and summary_of(root) is not None:
            self._add_result(root)
        elif root.is_dir() and not is_zarr(root):
            self._add_folder(root)
        else:
            self._add_slide(root)

    def add_result(self, folder: Path, name: str) -> ListedResult:
        """List a result that has just been made, under a name.

        Raises:
          UserError: the folder is no result.
        """
        return self._add_result(Path(os.path.realpath(folder)), name)

    def add_truth(self, truth: ListedResult) -> None:
        """List a ground truth of a listed slide."""
        with self._lock:
            self._results[truth.id] = truth

    def add_slide(self, path: Path, name: str) -> ListedSlide:
        """List a slide that has just come, under a name."""
        return self._add_slide(Path(os.path.realpath(path)), name)

    def slides(self) -> list[ListedSlide]:
        """All slides, in the order they came."""
        with self._lock:
            return list(self._slides.values())

    def results(self) -> list[ListedResult]:
        """All results, in the order they came."""
        with self._lock:
            results = list(self._results.values())
        return [self._current(result) for result in results]

    def slide(self, id_: str) -> ListedSlide:
        """A slide by its id.

        Raises:
          NotListedError: there is none.
        """
        with self._lock:
            if id_ not in self._slides:
                raise NotListedError("no slide has this id: load the page again")
            return self._slides[id_]

    def result(self, id_: str) -> ListedResult:
        """A result by its id.

        Raises:
          NotListedError: there is none.
        """
        with self._lock:
            if id_ not in self._results:
                raise NotListedError("no result has this id: load the page again")
            result = self._results[id_]
        return self._current(result)

    def _current(self, result: ListedResult) -> ListedResult:
        """A result as it is now: it may have been made anew since it was listed."""
        state = state_of(result.folder)
        if state in (None, self._states.get(result.id)):
            return result
        try:
            return self._add_result(result.folder, result.name)
        except UserError:
            return result

    def _add_folder(self, root: Path) -> None:
        results = [finished.folder for finished in look_into(root).finished]
        try:
            slides = files_of([root])
        except UserError:
            if not results:
                raise UserError(
                    f"{root}: has no slide, no image and no result of nucseg predict directly in it. Name "
                    "another folder, or the files"
                ) from None
            slides = []
        for path in self._inside(root, slides):
            self._add_slide(path)
        for path in self._inside(root, results):
            self._add_result(path)

    def _inside(self, root: Path, found: Iterable[Path]) -> list[Path]:
        """Those that are within a folder, links followed."""
        inside = []
        for path in found:
            real = Path(os.path.realpath(path))
            if real.is_relative_to(root):
                inside.append(real)
            else:
                self.notes.append(
                    shown(f"{path}: is left out, since it is a link out of the named folder. Name it itself")
                )
        return inside

    def _add_slide(self, path: Path, name: str = "", opening: Opening | None = None) -> ListedSlide:
        opening = opening or Opening(path)
        slide = ListedSlide(id_of("slide", opening), name or self._name_of(path), opening)
        with self._lock:
            return self._slides.setdefault(slide.id, slide)

    def _add_result(self, folder: Path, name: str = "") -> ListedResult:
        state, summary = state_of(folder), summary_of(folder)
        if summary is None:
            raise UserError(f"{folder}: is no result of nucseg predict. Name a folder with a {SUMMARY}")
        slide, missing = self._slide_of(summary)
        id_ = id_of("result", folder)
        result = ListedResult(id_, name or shown(folder.name), folder, summary, slide, missing)
        with self._lock:
            self._results[id_], self._states[id_] = result, state
        return result

    def _slide_of(self, summary: dict[str, Any]) -> tuple[str | None, str]:
        """The id of a result's slide, which is listed, too; or None and why it is not to be had."""
        source, request = summary.get("source"), summary["config"]["request"]
        if not isinstance(source, dict) or not isinstance(source.get("path"), str):
            return None, "its summary names no slide"
        path = Path(source["path"])
        for candidate in [path, *self._of_name(path.name)]:
            if is_address(candidate) or _has_size(candidate, source.get("bytes")):
                return self._add_slide(candidate, "", _opening_of(candidate, request)).id, ""
        if path.exists():
            return None, shown(f"{path} has changed since: it has another size")
        return None, shown(f"{path} is not there. Name the slide, too, when you start nucseg view")

    def _name_of(self, path: Path) -> str:
        """What a slide is called that may be listed already, as an upload is by the user's name."""
        names = (slide.name for slide in self.slides() if slide.opening.path == path)
        return next(names, shown(path.name))

    def _of_name(self, name: str) -> list[Path]:
        """Listed slides of this name, wherever they lie."""
        return [slide.opening.path for slide in self.slides() if slide.opening.path.name == name]


def _opening_of(path: Path, request: dict[str, Any]) -> Opening:
    """A slide as a result has opened it, so that coordinates fit; what is no such option is not taken."""
    mpp, white = request.get("mpp"), request.get("white")
    return Opening(
        path,
        float(mpp) if isinstance(mpp, int | float) and 0 < mpp < 1e3 else None,
        white if isinstance(white, int) else None,
        request.get("crop") is not False,
    )


def _has_size(path: Path, size: object) -> bool:
    """Whether a slide is there and has the size that a summary says; of OME-Zarr that is None."""
    try:
        return file_state(path).bytes == size
    except OSError:
        return False


def id_of(kind: str, what: object) -> str:
    """The same in every start of the server, so that addresses of things can be kept."""
    return hashlib.sha256(f"{kind} {what!r}".encode("utf-8", "backslashreplace")).hexdigest()[:_ID_LETTERS]
