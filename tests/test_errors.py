"""Messages in which names of files can neither break a line nor colour a terminal."""

import os
import pickle

import pytest

from nucseg_jax.errors import DataError, FailedError, InUseError, UserError, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a b µ 病理　１.svs", "a b µ 病理　１.svs"),
        ("a\nerror: b", r"a\nerror: b"),
        ("\x1b[31mred\x1b[0m\r\t\x9b", r"\x1b[31mred\x1b[0m\r\t\x9b"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        (os.fsdecode(b"bad\xff.tif"), r"bad\xff.tif"),
        ("\u2028\x7f\\n", r"\u2028\x7f\n"),
    ],
)
def test_shown(name: str, expected: str) -> None:
    assert shown(name) == expected


def test_lines_of_a_message_are_its_own() -> None:
    error = FailedError("2 failed:", "  a\nb.svs: is\x1b[2J damaged", "  c.svs: is empty")
    assert str(error) == "2 failed:\n  a\\nb.svs: is\\x1b[2J damaged\n  c.svs: is empty"
    assert str(DataError("one\ntwo")) == r"one\ntwo"


@pytest.mark.parametrize("error", [UserError("a", "b\nc"), InUseError("out/a", "process 1 on x")])
def test_errors_of_other_processes_stay_as_they_are(error: UserError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)
