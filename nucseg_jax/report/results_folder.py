"""All files of a comparison: the page, its figures, the scores and the label maps."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import shown, shown_lines
from nucseg_jax.evaluation import scoring
from nucseg_jax.evaluation.results import Comparison
from nucseg_jax.io.files import filled_folder, replacing, replacing_folder
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.locks import alone, lock_inside
from nucseg_jax.io.names import shortened
from nucseg_jax.report.page import write

SCORES, LABEL_MAPS = "scores.csv", "label_maps"


def write_all(comparison: Comparison, out: Path) -> None:
    """Write report.html, figures/, scores.csv and label_maps/ to a folder, and print the scores.

    All four replace older ones when they are complete, or not at all.

    Raises:
      InUseError: another process writes to the folder.
    """
    with filled_folder(out), alone(lock_inside(out), out, print):
        _write_all(comparison, out)


def _write_all(comparison: Comparison, out: Path) -> None:
    entries = {entry.name: entry.images for entry in comparison.entries}
    folders = folder_names(list(entries))
    for name in (SCORES, LABEL_MAPS):
        remove_leftovers(out / name)
    with replacing(out / SCORES) as scores, replacing_folder(out / LABEL_MAPS) as label_maps:
        scores.write_text(scoring.to_csv(entries), encoding="utf-8")
        for name, images in entries.items():
            folder = label_maps / folders[name]
            folder.mkdir()
            for image in images:
                _write_label_map(folder / image.id, image.label_map)
        page = write(comparison, out)
    title = f"{comparison.dataset} {comparison.split}"
    print(shown_lines(scoring.table(title, entries, comparison.min_area_um2)))
    print(f"wrote {shown(page)}, figures/, scores.csv and label_maps/")
    for name, plain in folders.items():
        if plain != _plain(name):  # another entry has that folder
            print(shown(f"the label maps of {name} are in label_maps/{plain}"))


def folder_names(entries: Sequence[str]) -> dict[str, str]:
    """Entries' names → names of their folders, no two of which are one folder on any file system."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for entry in entries:
        plain = _plain(entry)
        for number in itertools.count(2):
            if plain.casefold() not in taken:
                break
            plain = f"{_plain(entry)}-{number}"
        taken.add(plain.casefold())
        names[entry] = plain
    return names


def _plain(entry: str) -> str:
    """A name without what file systems or shells take for something else, and not too long."""
    return shortened(re.sub(r"[^\w.-]+", "_", entry).strip("_."), room=20) or "entry"


def _write_label_map(path: Path, label_map: NDArray[np.int32]) -> None:
    """PATH.png of 16 bits, or PATH.npy where there are more nuclei than these can number."""
    if label_map.max(initial=0) < 2**16:
        with replacing(path.with_name(f"{path.name}.png")) as temporary:
            Image.fromarray(label_map.astype(np.uint16)).save(temporary, format="PNG")
    else:
        with replacing(path.with_name(f"{path.name}.npy")) as temporary, open(temporary, "wb") as file:
            np.save(file, label_map)
