"""Which folder each slide gets."""

import json
import random
from pathlib import Path

import pytest

from nucseg_jax.io.names import MOST_BYTES
from nucseg_jax.predict.folders import folder_names


def finish(folder: Path, source: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"config": {"request": {"source": str(source)}}}))


def names(out: Path, *sources: str) -> list[str]:
    return folder_names([Path("/lab") / source for source in sources], out)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["P1/a.svs", "P2/b.svs"], ["a", "b"]),
        (["P1/HE.svs", "P2/HE.svs", "b.svs"], ["P1_HE", "P2_HE", "b"]),
        (["P1/HE.svs", "P2/he.tif"], ["P1_HE", "P2_he"]),  # some file systems ignore the case
        (["x/P1/HE.svs", "y/P1/HE.svs", "P2/HE.svs"], ["x_P1_HE", "y_P1_HE", "P2_HE"]),
        (
            ["P1/HE.svs", "P2/HE.svs", "P1_HE.svs"],
            ["lab_P1_HE", "P2_HE", "P1_HE"],
        ),  # one stays
        (["P1/HE.svs", "P1/HE.tif"], ["HE_svs", "HE_tif"]),
        (["HE.svs", "P1/HE.svs"], ["lab_HE", "P1_HE"]),
    ],
)
def test_names(tmp_path: Path, sources: list[str], expected: list[str]) -> None:
    assert names(tmp_path / "out", *sources) == expected
    shuffled = list(zip(sources, expected, strict=True))
    random.Random(0).shuffle(shuffled)
    assert names(tmp_path / "out", *(source for source, _ in shuffled)) == [name for _, name in shuffled]


def test_a_slide_keeps_the_folder_of_its_result(tmp_path: Path) -> None:
    finish(tmp_path / "HE", Path("/lab/P1/HE.svs"))
    assert names(tmp_path, "P1/HE.svs", "P2/HE.svs", "P3/HE.svs") == ["HE", "P2_HE", "P3_HE"]
    finish(tmp_path / "P2_HE", Path("/lab/P2/HE.svs"))
    assert names(tmp_path, "P3/HE.svs", "P2/HE.svs") == ["P3_HE", "P2_HE"]
    assert names(tmp_path, "P2/HE.svs") == ["P2_HE"]  # alone, it would have been HE
    assert names(tmp_path, "P9/HE.svs") == ["HE"]  # another slide's: the command refuses that


def test_long_names_fit(tmp_path: Path) -> None:
    long = "n" * 250
    found = names(tmp_path, f"P1/{long}.svs", f"P2/{long}.svs")
    assert len(set(found)) == 2 and all(len(name) <= MOST_BYTES for name in found)


def test_names_of_addresses(tmp_path: Path) -> None:
    addresses = [
        "https://h:88/a.ome.zarr",
        "s3://bucket/a.ome.zarr",
        "https://h:88/x/b.tif",
        "https://h:88/y/b.tif",
    ]
    expected = ["h_88_a.ome", "bucket_a.ome", "x_b", "y_b"]
    assert folder_names([Path(address) for address in addresses], tmp_path) == expected
