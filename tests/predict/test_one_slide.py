"""The files of a slide, whoever makes what is in them."""

import json
from pathlib import Path

import pytest

from nucseg_jax.predict import one_slide
from nucseg_jax.slides import open_slide, slide_of_array
from tests.drawn_tissue import MPP, segmenter, tissue


def write(folder: Path, *, workers: int, block_px: int) -> None:
    with (
        segmenter(workers=workers, block_px=block_px) as of,
        slide_of_array(tissue(230, 310, 150), MPP) as slide,
    ):
        stream = of.stream(slide)
        one_slide.write(stream, folder, source=Path(__file__), config={})
        assert stream.times["export"] > 0


@pytest.mark.parametrize("block_px", [64, 200])
def test_workers_change_no_file(tmp_path: Path, block_px: int) -> None:
    folders = tmp_path / "none" / "out", tmp_path / "two" / "out"
    for folder, workers in zip(folders, (0, 2), strict=True):
        write(folder, workers=workers, block_px=block_px)
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == sorted(path.name for path in folders[1].iterdir()) and "nuclei.geojson" in names
    for name in set(names) - {"summary.json"}:  # which has the seconds
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_what_a_format_leaves_out_is_said_and_in_the_summary(tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
    from tests.slides import dicom_slide

    eosin = tissue(96, 128, 0)
    file = dicom_slide.write(tmp_path / "slide", eosin, mpp=MPP)[0]
    said: list[str] = []
    with segmenter(workers=0, block_px=200) as of, open_slide(file) as slide:
        one_slide.write(
            of.stream(slide),
            tmp_path / "out",
            source=file,
            config={},
            notes=["before"],
            formats=["dicom"],
            say=said.append,
        )
    expected = "no nuclei.dcm: DICOM annotations need a nucleus at least, and none was found"
    assert said == [expected]
    notes = json.loads((tmp_path / "out" / "summary.json").read_text())["config"]["notes"]
    assert notes[0] == "before" and expected in notes
    assert not (tmp_path / "out" / "nuclei.dcm").exists()


def test_blocks_change_only_numbers_and_order(tmp_path: Path) -> None:
    found = []
    for block_px in (64, 200):
        write(tmp_path / "out", workers=0, block_px=block_px)
        rows = (tmp_path / "out" / "nuclei.csv").read_text().splitlines()[1:]
        found.append(sorted(row.split(",", 2)[2] for row in rows))  # without the numbers
    assert found[0] == found[1] and len(found[0]) > 30
