"""Values that would fail late, or mean nothing, are named before work begins."""

from typing import Any

import pytest

from nucseg_jax.config import check_values, get_config
from nucseg_jax.errors import UserError

RECIPE = {"optim.loss": "cross_entropy_dice", "model.num_classes": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim.method": "adam"}, "optim.method must be one of sgd, adamw, got 'adam'"),
        ({"optim.learning_rate": float("inf")}, "optim.learning_rate must be a finite number, got inf"),
        ({"stain.augment_shift": float("nan")}, "stain.augment_shift must be a finite number, got nan"),
        ({"model.boundary": "a" * 999}, f"got '{'a' * 199} …"),
        ({"seed": 10**400}, "seed must be below 2**63, got a number of 1329 bits"),
        ({"num_steps": 10**5000}, "num_steps must be below 2**31, got a number of 16610 bits"),
        ({"batch_size": -(2**31)}, "batch_size must be below 2**31, got a number of 32 bits"),
        ({"optim.learning_rate": 0.0}, "optim.learning_rate must be positive, got 0"),
        ({"optim.encoder_learning_rate": -1.0}, "optim.encoder_learning_rate must be 0 or more, got -1"),
        ({"optim.average_decay": 1.0}, "optim.average_decay must be at least 0 and below 1, got 1"),
        ({"optim.warmup_epochs": -1.0}, "optim.warmup_epochs must be 0 or more, got -1"),
        ({"augment.smallest_scale": 1.1}, "augment.smallest_scale must be from 0.1 to 1, got 1.1"),
        ({"augment.largest_scale": 0.9}, "augment.largest_scale must be from 1 to 10, got 0.9"),
        ({"augment.blur_px": -1.0}, "augment.blur_px must be from 0 to 10, got -1"),
        ({"augment.gamma": 0.5}, "augment.gamma must be from 1 to 10, got 0.5"),
        ({"augment.noise": 300.0}, "augment.noise must be from 0 to 255 grey levels, got 300"),
        ({"data.crop_size": 0}, "data.crop_size × model.input_scale = 0 × 1.0 is 0 pixels for the network"),
        ({"data.crop_size": -256}, "= -256 × 1.0 is -256 pixels for the network, which needs a multiple of"),
        ({"data.crop_size": 8}, "= 8 × 1.0 is 8 pixels for the network, which needs a multiple of 32"),
        ({"data.random_crops": -1}, "data.random_crops must be 0 or more, got -1"),
        ({"checkpoint.patience": -1}, "checkpoint.patience must be 0 or more, got -1"),
        ({"init.crop_um": 0.0}, "init.crop_um must be None or positive, got 0"),
        (
            {"self_correction.cycles": 2, "checkpoint.patience": 1},
            "checkpoint.patience is for trainings without cycles of self-correction",
        ),
        ({"data.size": 0}, "data.size must be None or at least 1, got 0"),
        ({"stain.augment_residual": 2.0}, "stain.augment_residual must be in 0 … 1, got 2"),
        ({**RECIPE, "optim.boundary_weight": 0.0}, "optim.boundary_weight must be positive, got 0"),
        ({"optim.boundary_weight": 2.0}, "optim.boundary_weight = 2.0 has an effect with optim.loss = "),
        ({"model.boundary": "ridge"}, "model.boundary must be one of edge, distance, got 'ridge'"),
        ({"model.recompute": "all"}, "model.recompute must be one of auto, none, blocks, got 'all'"),
        ({"model.boundary": "distance"}, "model.boundary = 'distance' needs optim.loss = "),
        (
            {"self_correction.cycles": 2, "optim.average_decay": 0.9},
            "optim.average_decay and self_correction.cycles both average the weights",
        ),
        (
            {**RECIPE, "self_correction.cycles": 2, "model.boundary": "distance"},
            "model.boundary = 'distance' and refined labels exclude each other",
        ),
        (
            {"self_correction.cycles": 2, "optim.warmup_epochs": 1.0},
            "self_correction.warmup_epochs: set it to 0",
        ),
    ],
)
def test_values_out_of_range(changes: dict[str, Any], message: str) -> None:
    config = get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError) as error:
        check_values(config, devices=1)
    assert message in str(error.value)


def test_the_recipe_is_sound() -> None:
    config = get_config()
    config.update_from_flattened_dict({**RECIPE, "model.boundary": "distance", "optim.boundary_weight": 2.0})
    check_values(config, devices=1)
