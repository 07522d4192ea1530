"""What a user can mend: commands print the message alone, without a traceback."""

from pathlib import Path


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
