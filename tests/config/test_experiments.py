"""Experiments by name and by file."""

import importlib
from pathlib import Path

import pytest

from nucseg_jax.config import check_values, flatten, load
from nucseg_jax.config.experiments import names
from nucseg_jax.errors import UserError

BASE = "from nucseg_jax.config import get_config as base\n\n"
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("name", names())
def test_every_config_is_sound_and_names_its_command(name: str) -> None:
    found, config = load(name)
    assert found == name and config.is_locked
    assert load(str(CONFIGS / f"{name}.py")) == (name, config)
    check_values(config, devices=1)
    module = importlib.import_module(f"configs.{name}")
    assert f"python -m nucseg_jax.main --config configs/{name}.py" in module.__doc__


def test_the_configs_are_all_found() -> None:
    assert {"psp", "unet", "unet_small", "demo"} <= set(names())
    assert names() == sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def test_the_fast_recipe_sees_the_same_tissue_in_a_quarter_of_the_pixels() -> None:
    slow, fast = (flatten(load(name)[1].to_dict()) for name in ("he", "he_fast"))
    changed = {key: (slow[key], fast[key]) for key in slow if slow[key] != fast[key]}
    assert changed == {"data.size": (1000, 500), "data.crop_size": (256, 128), "augment.blur_px": (1.0, 0.5)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:\n", "SyntaxError"),
        ("import nothing_like_it\n", "line 1: cannot be read: ModuleNotFoundError"),
        ("config = 1\n", "has no attribute 'get_config'"),
        (
            f"{BASE}def get_config():\n    config = base()\n    config.optim.lerning_rate = 1\n",
            "line 5: cannot be read: there is no setting 'lerning_rate'. Did you mean 'learning_rate'\\?$",
        ),
        (
            f"{BASE}def get_config():\n    config = base()\n    config.batch_size = '2'\n",
            "line 5: cannot be read: batch_size takes a value of type int$",
        ),
        (
            f"{BASE}def get_config():\n    it = base()\n    it.data.crop_size = None\n    return it\n",
            r"mine\.py: data\.crop_size=None: takes a whole number$",
        ),
        ("def get_config():\n    return 3\n", "get_config.. gives a int. It must give a ConfigDict"),
    ],
)
def test_files_that_are_no_configs(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load(str(path))
