"""What earlier releases wrote, in today's terms.

Releases before this one kept no resolution, and had the sizes of nuclei in pixels of the original images.
"""

from collections.abc import Mapping
from typing import Any

from nucseg_jax.errors import UserError
from nucseg_jax.nuclei import TYPICAL_MPP

_SIDE_PX, _PREPARED_PX = 1000, 1024
"""Sides of the one dataset that was rescaled by default, before and after."""

_LENGTHS = {"h_px": "h_um", "smoothing_px": "smoothing_um"}
_AREAS = {"min_area_px": "min_area_um2", "min_marker_px": "min_marker_um2"}


def physical(values: Mapping[str, Any], mpp: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Sizes in pixels → µm and µm².

    Args:
      values: dotted keys → values, such as instances.watershed.h_px.
      mpp: µm a pixel.

    Returns:
      The same with today's keys; and of those that were converted what they were, for messages.
    """
    result: dict[str, Any] = {}
    converted: dict[str, str] = {}
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        new = _LENGTHS.get(name) or _AREAS.get(name)
        if new is None:
            result[key] = value
            continue
        result[f"{group}.{new}"] = value * (mpp if name in _LENGTHS else mpp**2)
        converted[f"{group}.{new}"] = f"{name} {value:g}"
    return result, converted


def resolution(info: Mapping[str, Any]) -> tuple[float, str, bool]:
    """(network_mpp, source, assumed) of a checkpoint without `resolution`.

    Raises:
      UserError: its images were rescaled, and nothing says from which size.
    """
    dataset, data = info.get("dataset") or {}, info["config"]["data"]
    size = dataset.get("size", data.get("size"))
    if data["dataset"] == "monuseg" and "converted_from" not in info:
        size = size or _PREPARED_PX
        source = f"an earlier release's run: images of {TYPICAL_MPP:g}, rescaled {_SIDE_PX} → {size} px"
        return TYPICAL_MPP * _SIDE_PX / size, source, True
    if size is not None:
        raise UserError(
            f"the run was trained on images rescaled to {size} × {size} pixels, and does not say at what "
            "resolution these are. Give it with --network-mpp, in µm a pixel"
        )
    return TYPICAL_MPP, "the run does not say, 40× is the commonest", True
