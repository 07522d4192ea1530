"""What others said, made fit for a message."""

import pytest

from nucseg_jax.errors import in_short


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("as it is: µ 5", "as it is: µ 5"),
        ("two\n  lines\t", "two lines"),
        ("a\x1b[31mb\0c\u202ed\ud800", r"a\x1b[31mb\x00c\u202ed\ud800"),
        ("a" * 300, "a" * 200 + " …"),
        (ValueError("no\nnumber"), "no number"),
        (ValueError(), "ValueError"),
        (KeyError("best"), "KeyError: 'best'"),
        (IndexError("list index"), "IndexError: list index"),
        (FileNotFoundError(2, "No such file"), "[Errno 2] No such file"),
        (5, "5"),
    ],
)
def test_one_line_that_can_be_printed(said: object, shown: str) -> None:
    assert in_short(said) == shown
    assert in_short(said).isprintable()


def test_the_length_is_a_choice() -> None:
    assert in_short("abcdef", most=3) == "abc …"
