"""What a user can mend: commands print the message alone, without a traceback."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of writing, line breaks, and bytes that are no text."""


def shown(value: object) -> str:
    r"""Text for one line of a terminal: what would break or colour the line is written as \n, \x1b, \u202e.

    Names of files may hold anything; their bytes that are no UTF-8 become \xNN.
    """
    return _UNSAFE.sub(lambda match: _escaped(match.group()), str(value))


def shown_lines(text: str) -> str:
    """Text of several lines, each `shown`."""
    return "\n".join(map(shown, text.split("\n")))


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message: at most so many, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def listed_lines(lines: Iterable[str], most: int = 5) -> list[str]:
    """Indented lines for a message: at most so many, and how many more there are."""
    indented = [f"  {line}" for line in lines]
    more = len(indented) - most
    return [*indented[:most], *([f"  and {more} more"] if more > 0 else [])]


def in_short(said: object, most: int = 200) -> str:
    """What a library said or a file holds, for a message: one line of letters that can be printed.

    Args:
      said: an exception, or a text.
      most: letters; what is longer is cut.

    Returns:
      The text; of an exception that does not explain itself (a KeyError, one without a text) its type, too.
    """
    text = " ".join(str(said).split())
    if isinstance(said, BaseException) and not (
        text and isinstance(said, (OSError, ValueError, MemoryError))
    ):
        text = f"{type(said).__name__}: {text}" if text else type(said).__name__
    if len(text) > most:
        text = f"{text[:most]} …"
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # as Python keeps a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


class UserError(ValueError):
    """A bad value, file or set-up; the message names it and says what to do.

    Args:
      lines: of the message; each is `shown`, so that a name can neither break nor colour it.
    """

    def __init__(self, *lines: object):
        super().__init__(*lines)

    def __str__(self) -> str:
        return "\n".join(shown(line) for line in self.args)


class FailedError(UserError):
    """The work began, and some of it could not be done."""


class DiskFullError(FailedError):
    """A disk is full, or has too little room for what is about to be written."""


class InUseError(UserError):
    """Another process works on a file or a folder.

    Args:
      what: the file or folder.
      owner: who works on it, such as "process 12 on node3 (since 2026-01-31 08:00 UTC)".
      task: what that process makes there, as it says itself; None where it does not.
    """

    def __init__(self, what: object, owner: str = "another process", task: Mapping[str, Any] | None = None):
        super().__init__(what, owner)
        self.owner = owner
        self.task = task

    def __str__(self) -> str:
        what, owner = self.args
        return shown(f"{what}: {owner} works on it. Wait until that ends, or give another folder")


class DataError(UserError):
    """Images, annotations or a dataset cannot be used."""


class NothingToScoreError(DataError):
    """A dataset has training images only."""


class MissingExtraError(UserError, ImportError):
    """A package of an optional extra is not installed; the message has the command that installs it.

    Args:
      extra: its name in pyproject.toml.
      cause: of the failed import.
      instead: what does without it, as the last line of the message.
    """

    def __init__(self, extra: str, cause: ImportError, instead: str = ""):
        in_checkout = (Path(__file__).parents[1] / "constraints.txt").exists()
        what = f'-e ".[{extra}]" -c constraints.txt' if in_checkout else f'"nucseg_jax[{extra}]"'
        super().__init__(
            f"this needs the extra `{extra}` ({cause}); install it with:",
            f"  pip install {what}",
            *([instead] if instead else []),
        )
