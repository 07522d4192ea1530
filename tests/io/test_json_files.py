"""JSON of any program, and what is none."""

from pathlib import Path

import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.io.json_files import read_json

TEXT = '{"µ": [1, 2.5, null]}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(TEXT, encoding=encoding)
    assert read_json(tmp_path / "a.json", "") == {"µ": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b'{"a": ', "Expecting value"),
        (b"\xff\xfe\xff", "codec can't decode"),
        (b"[" * 100_000, "RecursionError"),
        (b"9" * 5000, "integer string conversion"),
    ],
)
def test_what_is_no_json_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_json(path, "Make it again")
    said = str(error.value)
    assert said.startswith(f"{path}: cannot be read as JSON (") and said.endswith(". Make it again")
    assert message in said and "\n" not in said and len(said) < 400


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json: no such file\. Make it"):
        read_json(tmp_path / "a.json", "Make it")
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)\. Make it"):
        read_json(tmp_path, "Make it")
