"""JSON in files that may be damaged, or another's."""

import json
import math
from pathlib import Path
from typing import Any

from nucseg_jax.errors import DataError, in_short


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file holds; in UTF-8, or in UTF-16 with its mark, as programs of Windows write it.

    Args:
      path: of the file.
      remedy: what the user can do where it is damaged, a sentence without a full stop.

    Raises:
      DataError: there is no such file, it cannot be read, or it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {remedy}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {remedy}") from error
    except (ValueError, RecursionError) as error:  # what is no text, too; what is nested too deeply
        raise DataError(f"{path}: cannot be read as JSON ({in_short(error)}). {remedy}") from error


def finite(value: object) -> float | None:
    """A value of JSON where it is a finite number; None for whatever else it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
