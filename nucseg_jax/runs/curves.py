"""The curves of a training: the records of metrics.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path

from nucseg_jax.errors import DataError, in_short

_RENAMED = {"validation_f1": "validation_dice"}
"""What earlier releases called it → its name today."""


def read(path: Path) -> tuple[Mapping[str, float], ...]:
    """The records of a file; none where it is not there.

    A last line without an end is left out: it is being written, or a kill has cut it short.

    Raises:
      DataError: a line is no record.
    """
    if not path.exists():
        return ()
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].split("\n")
    return tuple(_record(f"{path}, line {i}", line) for i, line in enumerate(lines, 1) if line.strip())


def _record(where: str, line: str) -> dict[str, float]:
    """A line by today's names; `where` it is, for the message."""
    try:
        record = json.loads(line)
        if type(record["step"]) is not int or not all(type(x) in (int, float) for x in record.values()):
            raise ValueError("its values must be numbers")
        values = {_RENAMED.get(key, key): float(x) for key, x in record.items() if key != "step"}
        float(record["step"])  # whole numbers may be too large for it
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(
            f"{where}: is damaged ({in_short(error)}). Delete the line, or the file: only the curves of "
            "training are lost"
        ) from error
    return {"step": record["step"], **values}
