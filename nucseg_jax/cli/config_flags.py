"""--config.KEY=VALUE, the way in which the user's commands change settings."""

from collections.abc import Sequence

from nucseg_jax.errors import UserError

FLAGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that takes them: what it does not know is left for `changes_in`."""

_PREFIX = "--config."


def changes_in(arguments: Sequence[str]) -> list[str]:
    """KEY=VALUE of `--config.KEY=VALUE` and `--config.KEY VALUE`; of a key that comes again, the last.

    Scripts that put "$@" behind their own flags rely on that.

    Args:
      arguments: all that is neither an option of the command nor its value.

    Raises:
      UserError: one is something else, or has no value.
    """
    changes: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith(_PREFIX):
            raise UserError(f"unknown argument {argument!r}: settings are changed by --config.KEY=VALUE")
        key, equals, text = argument.removeprefix(_PREFIX).partition("=")
        if equals:
            changes[key] = text
        elif rest and not rest[0].startswith("--"):
            changes[key] = rest.pop(0)
        else:
            raise UserError(f"{argument} has no value: write {argument}=VALUE")
    return [f"{key}={text}" for key, text in changes.items()]
