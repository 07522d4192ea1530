"""A run of an earlier release in today's terms."""

import json

import pytest

from nucseg_jax.config import get_config
from nucseg_jax.errors import UserError
from nucseg_jax.runs.run import experiment_of


def test_a_config_without_a_largest_area_or_masks_gets_the_defaults() -> None:
    config = get_config()
    config.instances.method = "depth"
    config.instances.depth.threshold = 0.4
    saved = json.loads(config.to_json_best_effort())
    del saved["instances"]["masked"]
    for method in ("components", "watershed", "boundary", "depth"):
        del saved["instances"][method]["max_area_um2"]
    found, converted = experiment_of({"config": saved})
    assert converted == {}
    assert found.instances.to_dict() == config.instances.to_dict()
    assert found.instances.depth.max_area_um2 == 800.0
    assert found.instances.masked == ("pen", "black", "fill", "fold")


def test_what_a_run_says_of_them_stays() -> None:
    config = get_config()
    config.instances.masked = ("black",)
    config.instances.depth.max_area_um2 = 0.0
    found, _ = experiment_of({"config": json.loads(config.to_json_best_effort())})
    assert found.instances.masked == ("black",) and found.instances.depth.max_area_um2 == 0.0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("masked", [{"pen": 1}], r"instances.masked=\(\{'pen': 1\},\): takes names"),
        ("method", 5, "instances.method=5: takes a text"),
    ],
)
def test_values_of_another_type_are_refused(key: str, value: object, message: str) -> None:
    saved = json.loads(get_config().to_json_best_effort())
    saved["instances"][key] = value
    with pytest.raises(UserError, match=message):
        experiment_of({"config": saved})
