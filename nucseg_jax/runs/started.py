"""What a run started from, as its checkpoints say: `init` of their `info` (`training.origin` writes it)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """What summaries say of it, under `init`; nothing of a run that started from random weights.

    Args:
      info: of the run's checkpoint.

    Raises:
      TypeError: it is no such record.
    """
    record = shown(info)
    return {} if record is None else {"init": record}


def shown(info: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record without the images; None of a run that started from random weights.

    Args:
      info: of the run's checkpoint.

    Raises:
      TypeError: it is no such record.
    """
    record = info.get("init")
    if record is None:
        return None
    if not isinstance(record, Mapping):
        raise TypeError("init is no record")
    return {key: value for key, value in record.items() if not key.startswith("images")}


def portable(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The record for another machine: of the paths of files and folders only the names.

    Args:
      record: `init` of a checkpoint's info.
    """
    if record is None:
        return None
    return {**record, "source": Path(record["source"]).name, "init": portable(record["init"])}
