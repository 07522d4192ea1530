"""Options that take several values."""

from typing import Annotated

import pytest
import typer

from nucseg_jax.cli.arguments import Command
from nucseg_jax.cli.running import run

FOUND: list[tuple[list[str], list[str], str]] = []
APP = typer.Typer(add_completion=False)


@APP.command(cls=Command)
def command(
    slides: Annotated[list[str] | None, typer.Argument()] = None,
    changes: Annotated[list[str] | None, typer.Option("--set")] = None,
    out: str = "",
) -> None:
    FOUND.append((slides or [], changes or [], out))


@pytest.mark.parametrize(
    "text",
    [
        "s --set a=1 b=2 --out o",
        "s --set a=1 --set b=2 --out o",
        "--out o s --set a=1 b=2",
        "--set=a=1 --set=b=2 --out o s",
        "--set=a=1 s --set=b=2 --out=o",
        "--set a=1 b=2 --out o -- s",
        "--set a=1 --out o s --set b=2",
    ],
)
def test_all_values_are_kept(text: str) -> None:
    FOUND.clear()
    assert run(APP, text.split(), "test") == 0
    assert FOUND == [(["s"], ["a=1", "b=2"], "o")]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--out", "", "--set", "a=1"], "--out needs a value"),
        (["--out=", "s"], "--out needs a value"),
        (["", "--out", "o"], "an argument is needed"),
    ],
)
def test_an_empty_text_is_no_value(
    arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that is empty would be the current folder."""
    assert run(APP, arguments, "test") == 2
    assert capsys.readouterr().err == f"error: {what}, got an empty text: is a shell variable unset?\n"


def test_an_option_is_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(APP, ["--out", "--set", "a=1"], "test") == 2
    assert capsys.readouterr().err == "error: --out needs a value, got the option --set\n"
