"""The folder of a comparison's files."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.report import write_all
from nucseg_jax.report.results_folder import folder_names
from tests.metrics.square_nuclei import EMPTY, FLAWED, TRUTH
from tests.report.comparisons import EXAMPLES, comparison, entry


def test_entries_of_like_names_have_folders_of_their_own(tmp_path, capsys):
    """A run may be named as the files of an ensemble are."""
    maps = {"or(a, b)": TRUTH, "or_a_b": FLAWED, "OR a b": EMPTY}
    examples = EXAMPLES[:1]
    write_all(comparison([entry(n, "external", [m], examples) for n, m in maps.items()], examples), tmp_path)
    folders = {"or(a, b)": "or_a_b", "or_a_b": "or_a_b-2", "OR a b": "OR_a_b-3"}
    assert {path.name for path in (tmp_path / "label_maps").iterdir()} == set(folders.values())
    for name, folder in folders.items():
        with Image.open(tmp_path / "label_maps" / folder / f"{examples[0].id}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), maps[name])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("the label maps of")]
    assert said == [
        "the label maps of or_a_b are in label_maps/or_a_b-2",
        "the label maps of OR a b are in label_maps/OR_a_b-3",
    ]


def test_a_failure_leaves_the_older_report(tmp_path):
    """And a report that takes the place of another has nothing of it."""

    out = tmp_path / "new" / "out"

    def write(name, examples):
        write_all(comparison([entry(name, "external", [TRUTH], examples)], examples), out)

    def tree():
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    without_original = tuple(dataclasses.replace(e, original_image=None) for e in EXAMPLES[:1])
    with pytest.raises(DataError):
        write("b", without_original)
    assert list(tmp_path.iterdir()) == []
    write("a", EXAMPLES[:1])
    (out / "mine.txt").write_text("stays")
    before = tree()
    with pytest.raises(DataError):
        write("b", without_original)
    assert tree() == before
    write("c", EXAMPLES[:1])
    assert [path.name for path in (out / "label_maps").iterdir()] == ["c"]
    assert (out / "mine.txt").read_text() == "stays"
    assert "\na," not in (out / "scores.csv").read_text()


def test_names_that_are_no_names_of_folders():
    names = ["..", "()", "a/../b", "a" * 400, "unet"]
    folders = folder_names(names)
    assert list(folders) == names and folders["unet"] == "unet"
    assert len({folder.casefold() for folder in folders.values()}) == len(names)
    assert all(folder.strip(".") and "/" not in folder and len(folder) < 250 for folder in folders.values())
