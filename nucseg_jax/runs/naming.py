"""What runs are called where several are compared."""

from collections.abc import Sequence
from pathlib import Path

from nucseg_jax.errors import UserError


def names_of(workdirs: Sequence[Path]) -> list[str]:
    """A unique name a run: its folder's, or with the folder above where two share it.

    Raises:
      UserError: a folder is named twice, or two would have one name.
    """
    resolved = [path.resolve() for path in workdirs]
    if len(set(resolved)) < len(resolved):
        raise UserError(f"--workdirs names a folder twice: {', '.join(map(str, workdirs))}")
    short = [path.name for path in resolved]
    names = [
        f"{path.parent.name}-{path.name}" if short.count(path.name) > 1 else path.name for path in resolved
    ]
    for i, name in enumerate(names):
        if (first := names.index(name)) < i:
            raise UserError(
                f"{workdirs[first]} and {workdirs[i]} would both be named {name}. Rename or link one of them"
            )
    return names
