"""tuning.json, whole and damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.runs import tuned


def written(path: Path, threshold: Any) -> Path:
    found = {"parameters": {"threshold": threshold, "h_um": 1}}
    path.write_text(json.dumps({"best": {"watershed": found}, "model": "unet, step 1"}))
    return path


def test_the_best_parameters_are_keys_of_a_config(tmp_path: Path) -> None:
    tuning = tuned.read(written(tmp_path / "tuning.json", 0.25))
    values = {"instances.watershed.threshold": 0.25, "instances.watershed.h_um": 1}
    assert tuning == ("watershed", {"watershed": values}, "unet, step 1", None)


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), True, None, "0.5", [0.5]])
def test_a_parameter_that_is_no_number_is_one_line(value: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "tuning.json", value)
    with pytest.raises(DataError) as error:
        tuned.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: cannot be read (instances.watershed.threshold = ")
    assert "is no number). Delete it, or run nucseg tune again" in message and len(message) < 400
