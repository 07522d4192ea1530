"""The benchmark of slides: it finds all nuclei of its drawn slide, and says what each stage took."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import slides
from benchmarks.drawn_slide import BLOCK_PX, NUCLEI_A_BLOCK, drawn_block, drawn_slide
from nucseg_jax.inference.timing import STAGES


def test_a_drawn_slide_is_its_block_again_and_again() -> None:
    with drawn_slide(2) as slide:
        region = slide.region(900, 1000, 300, 200, slide.mpp)
        assert slide.size == (2 * BLOCK_PX, 2 * BLOCK_PX)
    nuclei = np.tile(drawn_block(), (2, 2))[900:1200, 1000:1200]
    np.testing.assert_array_equal(region[..., 0] < 128, nuclei)


def test_stages_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slides.main(
        ["--blocks", "1", "--workers", "1", "--out", str(tmp_path / "a.json"), "--keep", str(tmp_path / "a")]
    )
    rows = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert [row["stage"] for row in rows] == [*STAGES, slides.CLOCK]
    assert all(row["nuclei"] == NUCLEI_A_BLOCK and row["seconds"] > 0 for row in rows)
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1)
    assert rows[-1]["memory_bytes"] > rows[-1]["worker_memory_bytes"] > 2**26
    assert (tmp_path / "a" / "nuclei.geojson").exists()
    assert f"{NUCLEI_A_BLOCK} nuclei" in capsys.readouterr().out
