"""Settings under dotted keys: how a command line changes a config."""

import ast
import contextlib
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from nucseg_jax.config.defaults import get_config
from nucseg_jax.errors import UserError, in_short


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts → one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def read_pairs(arguments: Sequence[str], usage: str) -> dict[str, str]:
    """NAME=VALUE arguments as a dict.

    Args:
      arguments: as typed.
      usage: their form, for the message, such as "--set KEY=VALUE".

    Raises:
      UserError: one is of another form, or a name is there twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not (name and equals and text):
            raise UserError(f"{in_short(repr(argument))} is not of the form {usage}")
        if name in found:
            raise UserError(f"{usage}: {in_short(name)} is given twice. Give it once")
        found[name] = text
    return found


def read_values(texts: Mapping[str, str], option: str, config: ConfigDict | None = None) -> dict[str, Any]:
    """What a command line says of settings, each as the type that the setting has.

    Args:
      texts: dotted keys → as typed: numbers, True or False, None where a setting may have no value, and
        lists of names as A,B or ('A', 'B').
      option: what the keys follow on the command line, for messages: "--set " or "--config.".
      config: has the settings; None: the defaults have.

    Raises:
      UserError: an unknown key; a value of another type.
    """
    return {key: _read(config, key, text, option) for key, text in texts.items()}


def apply(config: ConfigDict, values: Mapping[str, Any], where: str) -> None:
    """Change settings.

    Args:
      config: is changed.
      values: dotted keys → values of the settings' types.
      where: what the keys follow, for messages: "--set " or "--config.", or a file and ": ".

    Raises:
      UserError: an unknown key; a value of another type.
    """
    checked = {key: _checked(config, key, value, where) for key, value in values.items()}
    config.update_from_flattened_dict(checked)


def check_types(config: ConfigDict, where: str) -> None:
    """Raise UserError where a setting has a value of another type, such as None, than those it takes.

    Args:
      config: an experiment; settings of its own are not looked at.
      where: what the keys follow, for messages, such as a file and ": ".
    """
    usual = flatten(get_config().to_dict())
    for key, value in flatten(config.to_dict()).items():
        if key in usual:
            _checked(config, key, value, where)


def _read(config: ConfigDict | None, key: str, text: str, option: str) -> Any:
    kind, may_be_none = _setting(config, key, option)
    if may_be_none and text == "None":
        return None
    try:
        return _READERS[kind](text)
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise UserError(f"{option}{key}={in_short(text)}: takes {_expected(kind, may_be_none)}") from None


def _checked(config: ConfigDict, key: str, value: Any, where: str) -> Any:
    kind, may_be_none = _setting(config, key, where)
    if value is None and may_be_none:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # of more digits than a float has: refused below
            return float(value)
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    is_of_kind = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if not is_of_kind or (kind is tuple and not all(isinstance(name, str) for name in value)):
        raise UserError(f"{where}{key}={in_short(repr(value))}: takes {_expected(kind, may_be_none)}")
    return value


def _setting(config: ConfigDict | None, key: str, where: str) -> tuple[type, bool]:
    """The type of a setting's values, and whether it may have none."""
    defaults = get_config()
    usual = flatten(defaults.to_dict())
    # An experiment of a user's own may have settings of its own.
    known = usual if config is None else flatten(config.to_dict()) | usual
    if key not in known:
        raise UserError(f"{where}{in_short(key)}: there is no such setting.{_hint(key[:200], list(known))}")
    section: Any = defaults if key in usual else config
    *sections, name = key.split(".")
    for step in sections:
        section = section[step]
    return section.get_type(name), known[key] is None


def _hint(key: str, known: Sequence[str]) -> str:
    below = [other for other in known if other.startswith(f"{key}.")]
    if below:
        return f" It is a group: {', '.join(below)}"
    by_name = {other.rpartition(".")[2]: other for other in known}
    near = difflib.get_close_matches(key, known, n=1)
    near += [by_name[name] for name in difflib.get_close_matches(key.rpartition(".")[2], by_name, n=1)]
    return f" Did you mean {near[0]}?" if near else " nucseg_jax/config/defaults.py has them all"


def _expected(kind: type, may_be_none: bool) -> str:
    return _NAMES[kind] + (", or None" if may_be_none else "")


_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    tuple: "names, such as A,B",
}


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    if text.strip().startswith(("(", "[", "'", '"')):
        found = ast.literal_eval(text.strip())
        names = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("no names")
        return names
    return tuple(name.strip() for name in text.split(",") if name.strip())


_READERS: dict[type, Callable[[str], Any]] = {
    int: int,
    float: float,
    bool: _truth,
    str: str,
    tuple: _names,
}
