"""metrics.jsonl, whole and damaged."""

from pathlib import Path

import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.runs import curves

WHOLE = '{"step": 1, "loss": 0.5}\n\n{"step": 2, "validation_dice": 0.6}\n'


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert curves.read(path) == ()
    for rest in ("", '{"st', '{"step": 3, "loss": 0.4}'):
        path.write_text(WHOLE + rest)
        assert curves.read(path) == ({"step": 1, "loss": 0.5}, {"step": 2, "validation_dice": 0.6})


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 1',
        b"5",
        b"[]",
        b"{}",
        b'{"step": "1"}',
        b'{"step": 1, "loss": "x"}',
        b"\xff\xfe",
        b'{"step": 1, "loss": 1' + b"0" * 400 + b"}",
        b'{"step": 1' + b"0" * 400 + b"}",
        b'{"step": 1' + b"0" * 5000 + b"}",
        b"[" * 99999,
    ],
)
def test_a_damaged_line_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(WHOLE.encode() + line + b"\n" + WHOLE.encode())
    with pytest.raises(DataError) as error:
        curves.read(path)
    assert str(error.value).startswith(f"{path}, line 4: is damaged (") and "Delete the line" in str(
        error.value
    )
