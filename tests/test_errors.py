"""Messages that names of files, and what others said, can neither break nor colour."""

import os
import pickle

import pytest

from nucseg_jax.errors import DataError, FailedError, InUseError, UserError, in_short, shown


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


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("as it is: µ 5", "as it is: µ 5"),
        ("two\n  lines\t", "two lines"),
        ("a\x1b[31mb\0c\u202ed\ud800", r"a\x1b[31mb\x00c\u202ed\ud800"),
        (os.fsdecode(b"bad\xff\xe2\x80\x8b"), r"bad\xff\u200b"),
        ("a" * 300, "a" * 200 + " …"),
        (ValueError("no\nnumber"), "no number"),
        (ValueError(), "ValueError"),
        (KeyError("best"), "KeyError: 'best'"),
        (IndexError("list index"), "IndexError: list index"),
        (FileNotFoundError(2, "No such file"), "[Errno 2] No such file"),
        (5, "5"),
    ],
)
def test_one_line_that_can_be_printed(said: object, expected: str) -> None:
    assert in_short(said) == expected
    assert in_short(said).isprintable()


def test_the_length_is_a_choice() -> None:
    assert in_short("abcdef", most=3) == "abc …"
