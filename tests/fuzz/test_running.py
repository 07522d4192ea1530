"""The fuzzing itself: it sees every breach of the contract, outlives it, and repeats its inputs."""

import sys
from pathlib import Path

import pytest

from tests.fuzz import faulty
from tests.fuzz.faulty import FAULTS
from tests.fuzz.readers import READERS
from tests.fuzz.running import Child, FuzzError, damaged


@pytest.mark.parametrize("name", FAULTS)
def test_a_breach_of_the_contract_is_seen_and_outlived(name: str, tmp_path: Path) -> None:
    if name in ("memory", "open") and not Path("/proc/self/statm").exists():
        pytest.skip(f"no /proc on {sys.platform}, by which the child looks after itself")
    reader, seen = faulty.READERS[name], FAULTS[name][1]
    (tmp_path / "input").mkdir()
    path = tmp_path / "input" / "a.txt"
    limit_s = 3.0 if name == "hang" else 60.0
    with Child(reader, reader.seeds(tmp_path), "tests.fuzz.faulty", limit_s) as child:
        for _ in range(2):  # the second is read by the same process, or by its successor
            path.write_text("damaged")
            assert child.read(path).outcome.startswith(seen)
        path.write_text("whole")
        assert child.read(path).outcome == "right"


def test_whole_inputs_that_are_not_read_are_no_fuzzing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("damaged")
    with pytest.raises(FuzzError, match="a whole input is not read rightly(.|\n)*is damaged"):
        Child(faulty.READERS["none"], [tmp_path / "a.txt"], "tests.fuzz.faulty")


def test_an_input_is_a_function_of_its_number(tmp_path: Path) -> None:
    """For each kind of file that mutations know; hardly two of forty are alike, and none is whole."""
    for name in ("png", "tiff", "annotations", "manifest", "npy-labels", "mat-labels", "weights", "ensemble"):
        reader = READERS[name]
        (tmp_path / name).mkdir()
        wholes = reader.seeds(tmp_path / name)
        contents = [damaged(reader, wholes, i, tmp_path / "input").read_bytes() for i in range(40)]
        again = [damaged(reader, wholes, i, tmp_path / "input").read_bytes() for i in range(40)]
        assert contents == again
        assert len(set(contents)) > 36 and not {path.read_bytes() for path in wholes} & set(contents)
