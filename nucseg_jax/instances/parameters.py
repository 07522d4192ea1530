"""The settings that say how nuclei are made: `config.instances`, in µm and µm², and in pixels."""

import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from nucseg_jax.errors import UserError, in_short

METHODS = ("components", "watershed", "boundary", "depth", "polar")
"""Values of `instances.method`; each has its parameters under its own name."""

WITH_BOUNDARY = ("boundary", "depth", "polar")
"""Methods that need a network with a class for boundaries."""

NEEDS_BOUNDARY = (
    "instances.method = 'boundary' (or 'depth' or 'polar') needs a network with a class for boundaries: "
    "train one with model.num_classes = 3, or set instances.method to components or watershed"
)

PLAUSIBLE_AREA_UM2 = 800.0
"""Of a nucleus, at most: of the 32,504 that are annotated in MoNuSeg and CoNSeP the largest has 322 µm²."""

_MAX_AREA = "max_area_um2"

_PROBABILITY: tuple[Callable[[float], bool], str] = (lambda value: 0 < value < 1, "between 0 and 1")
_NOT_NEGATIVE: tuple[Callable[[float], bool], str] = (
    lambda value: 0 <= value < math.inf,
    "a number that is not negative",
)
_POSITIVE: tuple[Callable[[float], bool], str] = (lambda value: 0 < value < math.inf, "a number above 0")
_ALLOWED = {
    **dict.fromkeys(("threshold", "inside_threshold", "h", "rise", "overlap"), _PROBABILITY),
    **dict.fromkeys(("h_um", "smoothing_um"), _NOT_NEGATIVE),
    **dict.fromkeys(("min_marker_um2", "min_rest_um2", "min_area_um2"), _NOT_NEGATIVE),
    **dict.fromkeys(("h_px", "smoothing_px"), _NOT_NEGATIVE),
    **dict.fromkeys(("min_marker_px", "min_rest_px", "min_area_px"), _NOT_NEGATIVE),
    **dict.fromkeys(("reach_um", "reach_px"), _POSITIVE),
    _MAX_AREA: _NOT_NEGATIVE,
}


def check(config: ConfigDict) -> None:
    """Raise UserError for an unknown method, or a value out of its range.

    Args:
        config: `config.instances`.
    """
    if config.method not in METHODS:
        raise UserError(
            f"instances.method must be one of {', '.join(METHODS)}, got {in_short(repr(config.method))}"
        )
    for name, value in config[config.method].items():
        check_value(f"instances.{config.method}.{name}", value)


def parameters_px(config: ConfigDict, mpp: float) -> dict[str, Any]:
    """The parameters of a config's method as its function takes them; those of `split` itself are left out.

    Args:
        config: `config.instances`, where lengths end with _um and areas with _um2.
        mpp: µm a pixel of the image.

    Returns:
        By name, lengths and areas in pixels; these need not be whole numbers.
    """
    units = {"_um2": mpp**2, "_um": mpp}
    parameters: dict[str, Any] = {}
    for name, value in config[config.method].items():
        if name == _MAX_AREA:
            continue
        unit = next((unit for unit in units if name.endswith(unit)), None)
        if unit is None:
            parameters[name] = value
        else:
            parameters[f"{name.removesuffix(unit)}_px"] = _px(value, units[unit])
    return parameters


def area_px(area_um2: float, mpp: float) -> float:
    """An area in pixels; it need not be a whole number.

    Args:
        area_um2: in µm².
        mpp: µm a pixel.
    """
    return _px(area_um2, mpp**2)


def max_area_px(config: ConfigDict, mpp: float) -> float:
    """Pixels of the largest nucleus that is not left out; infinite where there is no limit (0).

    Args:
        config: `config.instances`.
        mpp: µm a pixel.
    """
    limit = config[config.method].get(_MAX_AREA, 0.0)
    return area_px(limit, mpp) if limit else math.inf


def _px(value: float, unit: float) -> float:
    """Rounded, so that an area that was converted from pixels is the same number of pixels again."""
    return round(value / unit, 6)


def check_values(**parameters: float) -> None:
    """`check_value` of each parameter by its name."""
    for name, value in parameters.items():
        check_value(name, value)


def check_value(key: str, value: float) -> None:
    """Raise UserError unless the parameter that `key` ends with may have this value."""
    is_allowed, allowed = _ALLOWED[key.rpartition(".")[2]]
    if not is_allowed(value):
        raise UserError(f"{key} must be {allowed}, got {value}")
