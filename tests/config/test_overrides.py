"""Settings as a command line gives them."""

import pytest

from nucseg_jax.config import apply, flatten, get_config, read_pairs, read_values
from nucseg_jax.errors import UserError


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "3", 3),
        ("num_steps", "10", 10),
        ("num_steps", "None", None),
        ("optim.learning_rate", "1e-3", 1e-3),
        ("optim.learning_rate", "1", 1.0),
        ("eval.augment", "True", True),
        ("eval.augment", "false", False),
        ("model.name", "unet", "unet"),
        ("model.name", "3", "3"),
        ("data.dir", "None", None),
        ("data.dir", "/a b", "/a b"),
        ("data.validation", "A,B", ("A", "B")),
        ("data.validation", "('A', 'B')", ("A", "B")),
        ("data.validation", "('A',)", ("A",)),
        ("data.validation", "()", ()),
        ("data.validation", "('TCGA-50')", ("TCGA-50",)),
        ("data.validation", "'A','B'", ("A", "B")),
        ("eval.augment", "1", True),
    ],
)
def test_texts_get_the_type_of_their_setting(key: str, text: str, value: object) -> None:
    found = read_values({key: text}, "--set ")
    assert found == {key: value} and type(found[key]) is type(value)
    config = get_config()
    apply(config, found, "--set ")
    assert flatten(config.to_dict())[key] == value


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("seed", "1.5", "--set seed=1.5: takes a whole number"),
        ("seed", "None", "--set seed=None: takes a whole number"),
        ("optim.momentum", "much", "--set optim.momentum=much: takes a number"),
        ("eval.augment", "maybe", "--set eval.augment=maybe: takes True or False"),
        ("data.validation", "('A'", r"--set data.validation=\('A': takes names, such as A,B"),
        ("data.validation", "(5)", r"--set data.validation=\(5\): takes names"),
        ("lerning_rate", "1", "Did you mean optim.learning_rate?"),
        ("xyzzy", "1", "nucseg_jax/config/defaults.py has them all"),
    ],
)
def test_wrong_texts(key: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        read_values({key: text}, "--set ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": "3"}, "here: seed='3': takes a whole number"),
        ({"seed": True}, "here: seed=True: takes a whole number"),
        ({"eval.augment": 1}, "here: eval.augment=1: takes True or False"),
        (
            {"instances.masked": ["pen", 1.5]},
            r"here: instances.masked=\('pen', 1.5\): takes names, such as A,B",
        ),
        ({"model.width": 10**400}, "here: model.width=10+ …: takes a number"),
        ({"instances.masked": [["pen"]]}, r"here: instances.masked=\(\['pen'\],\): takes names"),
        (
            {"instances.watershed.h_px": 1},
            "here: instances.watershed.h_px: there is no such setting. Did you mean",
        ),
    ],
)
def test_values_of_another_type_change_nothing(values: dict[str, object], message: str) -> None:
    config = get_config()
    with pytest.raises(UserError, match=message):
        apply(config, {"batch_size": 7, **values}, "here: ")
    assert config == get_config()


def test_pairs() -> None:
    assert read_pairs(["a=1", "b=x=y"], "--set KEY=VALUE") == {"a": "1", "b": "x=y"}
    for wrong, message in (
        (["a"], "'a' is not of the form --set KEY=VALUE"),
        (["a="], "'a=' is not of"),
        (["=1"], "'=1' is not of"),
        (["a=1", "a=2"], "--set KEY=VALUE: a is given twice"),
    ):
        with pytest.raises(UserError, match=message):
            read_pairs(wrong, "--set KEY=VALUE")


def test_settings_of_an_experiment_of_ones_own() -> None:
    config = get_config()
    with config.unlocked():
        config.mine = 1
    assert read_values({"mine": "2", "seed": "3"}, "--set ", config) == {"mine": 2, "seed": 3}
    apply(config, {"mine": 2}, "--set ")
    assert config.mine == 2
    with pytest.raises(UserError, match="mine: there is no such setting"):
        read_values({"mine": "2"}, "--set ")
