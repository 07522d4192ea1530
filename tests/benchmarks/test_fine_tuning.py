"""The fine-tuning study: its jobs, the regions that it annotates, and what its table says."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely

from benchmarks import fine_tuning, fine_tuning_data, fine_tuning_figure
from benchmarks.fine_tuning import Job
from benchmarks.fine_tuning_data import Sources
from nucseg_jax.io.geojson_files import REGION

ORGANS = fine_tuning.ORGANS


def rows_of(job: Job, scores: dict[str, float]) -> list[dict[str, object]]:
    return [{**job._asdict(), "id": name, "aji": aji} for name, aji in scores.items()]


def test_every_kind_of_training_has_every_seed_and_number_of_regions() -> None:
    jobs = list(fine_tuning.jobs())
    assert len(set(jobs)) == len(jobs) == 3 * 3 * (1 + 3) + 3 * 3 + 3 * 3 * 3
    kinds = Counter((job.start, job.chosen, job.regions) for job in jobs)
    assert kinds["base", "random", 0] == 9 and kinds["base", "suggested", 4] == 3
    assert [kinds["scratch", "random", n] for n in (0, 1, 2, 4)] == [0, 9, 9, 9]


def test_the_table_pairs_images_with_themselves() -> None:
    """b is scored by two seeds: its gain is the mean of both, +0.2, and a's is 0."""
    rows = [
        *rows_of(Job("liver", 0, 0), {"a": 0.5, "b": 0.2}),
        *rows_of(Job("liver", 1, 0), {"b": 0.4}),
        *rows_of(Job("liver", 0, 2), {"a": 0.5, "b": 0.5}),
        *rows_of(Job("liver", 1, 2), {"b": 0.5}),
        *rows_of(Job("liver", 0, 2, start="scratch"), {"a": 0.25, "b": 0.25}),
    ]
    lines = fine_tuning_figure.table(rows).splitlines()
    assert lines[0] == "| organ | training | as it is | 2 regions |"
    assert lines[2].startswith("| liver | fine-tuned | 0.400 | 0.500 (+0.100; ")
    assert lines[3].startswith("| liver | from scratch |  | 0.250 (-0.150; ")
    assert lines[4].startswith("| **all** | fine-tuned | 0.400 | 0.500 (+0.100; ")


def test_the_figure_has_a_panel_an_organ(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is of the extra benchmarks")
    rows = [
        row
        for organ in ORGANS
        for regions in (0, 1, 2)
        for row in rows_of(Job(organ, 0, regions), {"a": 0.5, "b": 0.4 + 0.1 * regions})
    ]
    fine_tuning_figure.draw(rows, tmp_path / "f.svg")
    text = (tmp_path / "f.svg").read_text()
    assert all(f">{organ}<" in text for organ in ORGANS) and "fine-tuned" in text


def test_regions_are_apart_and_those_of_fewer_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    nuclei = [shapely.box(x, y, x + 9, y + 9) for x in range(0, 990, 40) for y in range(0, 990, 40)]
    monkeypatch.setattr(Sources, "outlines", lambda *_: nuclei)
    sources = Sources(Path("m"), (), Path("f"))
    four = sources.random_corners("a", 4, seed=0)
    assert sources.random_corners("a", 2, seed=0) == four[:2]
    assert sources.random_corners("a", 2, seed=1) != four[:2]
    side, image = fine_tuning_data.REGION_PX, fine_tuning_data.IMAGE_PX
    for i, (top, left) in enumerate(four):
        assert 0 <= min(top, left) and max(top, left) + side <= image
        assert all(np.abs(np.subtract((top, left), other)).max() >= side for other in four[:i])


def test_suggested_regions_are_taken_in_their_order(tmp_path: Path) -> None:
    """As `nucseg suggest` writes them: rectangles in pixels, named by their order."""
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(fine_tuning_data.region(corner))),
            "properties": {"objectType": "annotation", "name": str(order), "classification": REGION},
        }
        for order, corner in ((2, (300, 20)), (1, (10, 500)))
    ]
    nucleus = {"type": "Feature", "geometry": None, "properties": {"objectType": "annotation"}}
    file = tmp_path / "suggested" / "breast_0.geojson"
    file.parent.mkdir()
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [nucleus, *features]}))
    study = fine_tuning.Study(Sources(Path("m"), (), Path("f")), tmp_path)
    assert study.suggested(Job("breast", 0, 2, chosen="suggested"), "a") == ((10, 500), (300, 20))
