"""Damaged inputs of every reader: a right result, or a line that names the file and what to do.

`make fuzz` tries many more; a failure here names the input by which `python -m tests.fuzz` repeats it.
"""

import importlib.util

import pytest

from tests.fuzz.child import REFUSED, RIGHT
from tests.fuzz.readers import READERS
from tests.fuzz.running import verdicts


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.in_suite])
def test_damaged_inputs(name: str) -> None:
    reader = READERS[name]
    if reader.needs and importlib.util.find_spec(reader.needs) is None:
        pytest.skip(f"needs the package {reader.needs}")
    found = list(verdicts(reader, range(reader.in_suite)))
    failed = [
        f"--reader {name} --first {number} --inputs 1: {verdict.outcome}\n{verdict.detail}"
        for number, verdict in found
        if verdict.outcome not in (RIGHT, REFUSED)
    ]
    assert not failed, "\n".join(failed[:5])
    assert sum(verdict.outcome == REFUSED for _, verdict in found) > 0, "nothing was damaged"
