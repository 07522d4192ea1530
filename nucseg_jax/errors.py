"""What a user can mend: commands print the message alone, without a traceback."""

from pathlib import Path


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
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class UserError(ValueError):
    """A bad value, file or set-up; the message names it and says what to do."""


class FailedError(UserError):
    """The work began, and some of it could not be done."""


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
            f"this needs the extra `{extra}` ({cause}); install it with:\n"
            f"  pip install {what}" + (f"\n{instead}" if instead else "")
        )
