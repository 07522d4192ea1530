"""The benchmark of streaming, tiny: its table, its JSON, and that nothing is left of its shards."""

import json
from pathlib import Path

import pytest

from benchmarks import streaming


def test_it_streams_what_it_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out.json"
    scratch.mkdir()
    tiny = {"images": 70, "image-size": 64, "size": 32, "steps": 3, "step-seconds": 0.01, "shards": 3}
    options = [f"--{name}={value}" for name, value in tiny.items()]
    streaming.main([*options, "--scratch", str(scratch), "--out", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    assert row["images"] == 70 and row["loaded_bytes"] == 70 * 64 * 64 * 7
    assert row["disk_bytes"] > 70 * 1000 and 0 <= row["waiting"] < 1
    assert row["first_seconds"] > row["longest_seconds"] >= 0
    assert row["end_bytes"] > row["before_bytes"] > 0
    assert "| 70 | 0.00 GB |" in capsys.readouterr().out
    assert not list(scratch.iterdir())
