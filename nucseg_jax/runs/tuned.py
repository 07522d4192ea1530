"""What `nucseg tune` found best on a run's held-out images: tuning.json in its folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError

TUNING = "tuning.json"


class Tuning(NamedTuple):
    """What TUNING says.

    Attributes:
      best: the best method.
      parameters: by method the best parameters, as dotted keys of a config.
      model, params_sha256: what was tuned; the latter is None of an earlier release.
    """

    best: str
    parameters: Mapping[str, Mapping[str, Any]]
    model: str
    params_sha256: str | None


def read(path: Path) -> Tuning:
    """Read it; UserError where it is damaged."""
    try:
        content = json.loads(path.read_text())
        best = content["best"]
        parameters = {
            method: {f"instances.{method}.{key}": value for key, value in found["parameters"].items()}
            for method, found in best.items()
        }
        first = next(iter(best))  # the best comes first
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(f"{path}: cannot be read ({error!r}). Delete it, or run nucseg tune again") from error
    return Tuning(first, parameters, content.get("model", ""), content.get("params_sha256"))
