"""Values of JSON files that may be damaged: numbers that can be used, and a digest that shows a change."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any


def is_finite_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold; JSON's whole numbers have any length."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_as_written(content: Mapping[str, Any], digest: str, *, has_one: bool) -> bool:
    """Whether a JSON object says what was written.

    Args:
      content: of the object.
      digest: the name of the entry that holds its SHA-256.
      has_one: whether the release that wrote it wrote one: without it the object is damaged then.
    """
    if digest not in content:
        return not has_one
    return bool(content[digest] == sha256_of(content, digest))


def sha256_of(content: Mapping[str, Any], without: str = "") -> str:
    """SHA-256 of what a JSON object says, in whatever order, but for the entry that holds the digest.

    Args:
      content: of the object.
      without: the name of that entry.
    """
    covered = {key: value for key, value in content.items() if key != without}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
