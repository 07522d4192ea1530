"""Experiments by name or by file: `psp`, or `configs/psp.py`."""

import difflib
import importlib.util
import re
import traceback
from pathlib import Path
from types import ModuleType

from ml_collections import ConfigDict

from nucseg_jax.config.overrides import check_types
from nucseg_jax.errors import UserError, in_short


def load(experiment: str) -> tuple[str, ConfigDict]:
    """The config of an experiment.

    Args:
      experiment: the name of one that comes with the package, such as "psp", or a file that defines
        `get_config() -> ConfigDict`.

    Returns:
      Its name, which is the file's, and its config.

    Raises:
      UserError: there is no such experiment, or its file cannot be read.
    """
    path = Path(experiment)
    if path.suffix != ".py":
        path = _of_name(experiment)
    if not path.is_file():
        raise UserError(f"{experiment}: no such file. Give a config's file or one of {', '.join(names())}")
    return path.stem, _read(path)


def names() -> list[str]:
    """The experiments that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.py") if not path.stem.startswith("_"))


def _of_name(name: str) -> Path:
    if name in names():
        return _folder() / f"{name}.py"
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise UserError(f"{name}: no such config. {hint}There are {', '.join(names())}, or give a file")


def _folder() -> Path:
    """`nucseg_jax/configs` of an installed wheel, `configs` of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _read(path: Path) -> ConfigDict:
    try:
        spec = importlib.util.spec_from_file_location(f"experiment_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config()
    except (Exception, SystemExit) as error:  # whatever a person's own file does wrong
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(f"{path}{where}: cannot be read: {_what_went_wrong(error)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config() gives a {type(config).__name__}. It must give a ConfigDict")
    check_types(config, f"{path}: ")
    return config


def _what_went_wrong(error: BaseException) -> str:
    """One line, without the whole config that ml_collections puts into its messages."""
    text = " ".join(str(error).split())
    if match := re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text):
        return f"there is no setting {in_short(repr(match[2]))}. Did you mean {match[1]!r}?"
    if match := re.search(r"Could not override field '(.+?)'.*type <class '(.+?)'>$", text):
        return f"{match[1]} takes a value of type {match[2]}"
    return f"{type(error).__name__}: {in_short(text)}. Correct the file"
