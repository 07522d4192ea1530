"""What `nucseg tune` found best on a run's held-out images: tuning.json in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.data.json_values import is_finite_number
from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.json_files import read_json

TUNING = "tuning.json"

REMEDY = "Delete it, or run nucseg tune again"


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
    """Read it; DataError where it is damaged."""
    content = read_json(path, REMEDY)
    try:
        best = content["best"]
        parameters = {
            method: {f"instances.{method}.{key}": value for key, value in found["parameters"].items()}
            for method, found in best.items()
        }
        first = next(iter(best))  # the best comes first
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(f"{path}: cannot be read ({in_short(error)}). {REMEDY}") from error
    for values in parameters.values():
        for key, value in values.items():
            if not is_finite_number(value):
                shown = f"{in_short(key)} = {in_short(repr(value))}"
                raise DataError(f"{path}: cannot be read ({shown} is no number). {REMEDY}")
    about = content.get("model", ""), content.get("params_sha256")
    if not (isinstance(about[0], str) and isinstance(about[1], (str, type(None)))):
        raise DataError(f"{path}: cannot be read (model or params_sha256 is no text). {REMEDY}")
    return Tuning(first, parameters, *about)
