"""The benchmark of the scores, tiny: its table and its JSON."""

import json

import pytest

from benchmarks import metrics as metrics_benchmark


def test_benchmark(tmp_path, capsys):
    out = tmp_path / "result.json"
    metrics_benchmark.main(
        ["--nuclei", "12", "--size", "120", "--repeats", "2", "--out", str(out)],
    )
    rows = json.loads(out.read_text())["rows"]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(rows) == 6
    assert all(row["largest_difference"] <= 1e-9 and row["count_true"] == 12 for row in rows)


def test_benchmark_that_cannot_draw_says_so():
    with pytest.raises(SystemExit, match="no room for 50 nuclei"):
        metrics_benchmark.draw(50, 64)
