"""What command lines have in common: KEY=VALUE pairs, and their values."""

import ast
from collections.abc import Sequence
from typing import Any

from nucseg_jax.errors import UserError


def pairs(arguments: Sequence[str], usage: str) -> dict[str, str]:
    """NAME=VALUE arguments as a dict.

    Args:
      arguments: as typed.
      usage: their form, for the message, such as "--set KEY=VALUE".

    Raises:
      UserError: one is of another form, or a name is there twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not (name and equals and text):
            raise UserError(f"{argument!r} is not of the form {usage}")
        if name in found:
            raise UserError(f"{usage}: {name} is given twice")
        found[name] = text
    return found


def value(text: str) -> Any:
    """A number, a truth value or a tuple where the text is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
