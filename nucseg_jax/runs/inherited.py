"""Settings that an experiment takes from elsewhere: from the run that it goes on with, or from its source.

`config.init.settings` names them. What a command line gives comes before them.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from nucseg_jax.config import flatten
from nucseg_jax.errors import UserError
from nucseg_jax.runs.run import experiment_of

_STEP_PX = 32  # what the side of a patch is a multiple of


def of_source(config: ConfigDict, source: ConfigDict, network_mpp: float) -> dict[str, Any]:
    """The settings that a new run takes from what it starts from, by dotted keys.

    Args:
      config: of the new run.
      source: the config of the network that it starts from.
      network_mpp: µm a pixel that this network sees.

    Raises:
      UserError: config.init names no setting, or a patch without a pixel.
    """
    values = _below(flatten(source.to_dict()), config.init.settings)
    if "model" in config.init.settings:
        values["model.encoder_weights"] = None  # the source's encoder replaces ImageNet's
    if config.init.crop_um is not None:
        side = int(config.init.crop_um / network_mpp / _STEP_PX + 1e-6) * _STEP_PX
        if side < _STEP_PX:
            raise UserError(
                f"init.crop_um = {config.init.crop_um:g} is less than {_STEP_PX} pixels of {network_mpp:g} "
                "µm, the smallest patch: set a larger one"
            )
        values["data.crop_size"] = side
    return values


def of_run(config: ConfigDict, info: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a run has taken when it began, by dotted keys: it keeps them.

    Args:
      config: of the command that goes on with the run, or scores it.
      info: of its checkpoint.
    """
    chosen = [*config.init.settings]
    if config.init.settings:
        chosen.append("model.encoder_weights")
    if config.init.crop_um is not None:
        chosen.append("data.crop_size")
    if config.data.hold_out:
        chosen.append("data.validation")
    return _below(flatten(experiment_of(info)[0].to_dict()), chosen)


def takes_any(config: ConfigDict) -> bool:
    """Whether an experiment takes settings from elsewhere."""
    return bool(config.init.settings or config.init.crop_um is not None or config.data.hold_out)


def _below(values: Mapping[str, Any], names: Any) -> dict[str, Any]:
    """The settings of these names, and those in groups of these names.

    Raises:
      UserError: a name is neither.
    """
    found: dict[str, Any] = {}
    for name in names:
        these = {key: value for key, value in values.items() if key == name or key.startswith(f"{name}.")}
        if not these:
            raise UserError(f"init.settings names {name}, which is no setting and no group of settings")
        found |= these
    return found
