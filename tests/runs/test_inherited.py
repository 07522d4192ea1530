"""Settings that a run takes from what it starts from, and keeps."""

import json

import pytest

from nucseg_jax.config import apply, get_config, load
from nucseg_jax.errors import UserError
from nucseg_jax.runs import inherited


def test_a_fine_tuning_is_like_its_source_in_what_the_network_is() -> None:
    """For he at 0.25 µm and he-fast at 0.5; patches have 48 µm."""
    for name, mpp, side in (("he", 0.25, 192), ("he_fast", 0.5, 96)):
        config, source = load("finetune")[1], load(name)[1]
        values = inherited.of_source(config, source, mpp)
        apply(config, values, "")
        assert config.instances.to_dict() == source.instances.to_dict()
        assert config.model.to_dict() == {**source.model.to_dict(), "encoder_weights": None}
        assert config.optim.loss == source.optim.loss == "cross_entropy_dice"
        assert config.data.crop_size == side
        assert config.optim.learning_rate < source.optim.learning_rate


def test_a_run_keeps_what_it_took() -> None:
    config, run = load("finetune")[1], get_config()
    run.model.name, run.data.crop_size, run.data.validation = "unet", 64, ("a",)
    run.instances.method = "watershed"
    values = inherited.of_run(config, {"config": json.loads(run.to_json_best_effort())})
    assert values["model.name"] == "unet" and values["data.crop_size"] == 64
    assert values["data.validation"] == ("a",) and values["instances.method"] == "watershed"
    assert not {"optim.learning_rate", "data.dir", "num_steps"} & values.keys()


def test_other_experiments_take_nothing() -> None:
    for name in ("demo", "he"):
        config, source = load(name)[1], load("unet_small")[1]
        assert not inherited.takes_any(config) and inherited.of_source(config, source, 0.25) == {}


def test_a_name_that_is_no_setting_and_a_patch_of_no_pixel() -> None:
    config = load("finetune")[1]
    config.init.crop_um = 5.0
    with pytest.raises(UserError, match="init.crop_um = 5 is less than 32 pixels of 0.25 µm"):
        inherited.of_source(config, get_config(), 0.25)
    config.init.settings = ("modell",)
    with pytest.raises(UserError, match="init.settings names modell, which is no setting"):
        inherited.of_source(config, get_config(), 0.25)
