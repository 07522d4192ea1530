"""The benchmark of files: a row for each format, with the size of what was written."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import files, measure


def test_drawn_nuclei_do_not_touch_and_are_all_there() -> None:
    frame, found = files.nuclei(70)
    slide = np.zeros(frame.network_size, np.int32)
    numbers = []
    for nucleus in found:
        height, width = nucleus.mask.shape
        part = slide[nucleus.top : nucleus.top + height, nucleus.left : nucleus.left + width]
        assert not part[nucleus.mask].any()
        part[nucleus.mask] = nucleus.id
        numbers.append(nucleus.id)
    assert numbers == list(range(1, 71))


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(measure, "isolated", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(files, "find_spec", lambda name: None)  # spatialdata's imports warn
    files.main(["--nuclei", "60", "--folder", str(tmp_path), "--out", str(tmp_path / "a.json")])
    rows = {row["files"]: row for row in json.loads((tmp_path / "a.json").read_text())["rows"]}
    assert list(rows) == [*list(files.ROWS)[:-2], "merge"]
    sizes = {name: row["bytes"] - rows["summary"]["bytes"] for name, row in rows.items()}
    exact, packed = sizes["geojson"], sizes["geojson --gzip"]
    assert packed < sizes["geojson --simplify 0.25"] < exact and packed > 60 * 100
    assert sizes["parquet --simplify 0.25"] < sizes["parquet"] < sizes["all"]
    assert rows["merge"]["bytes"] > sizes["csv"]
    assert all(row["seconds"] > 0 and row["nuclei"] == 60 for row in rows.values())
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert "| merge | " in capsys.readouterr().out
