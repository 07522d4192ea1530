"""The resolution that a run's network sees: from what its checkpoint says of the images it was trained on."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError
from nucseg_jax.slides.resolution import COARSEST_MPP, FINEST_MPP, TYPICAL_MPP

_MONUSEG_SIDE, _MONUSEG_SIZE = 1000, 1024
"""MoNuSeg's images are 1000 pixels wide, at 40×; the side they are prepared at unless `--size` says."""


class Magnification(NamedTuple):
    """At what resolution a network was trained.

    Attributes:
      image_mpp: µm a pixel of the training images as they came.
      network_mpp: µm a pixel of what the network saw of them; slides are read at that.
      source: how that is known.
      assumed: nothing says so; it is the commonest.
    """

    image_mpp: float
    network_mpp: float
    source: str
    assumed: bool = False


def of_run(info: Mapping[str, Any], network_mpp: float | None = None) -> Magnification:
    """The resolution of a checkpoint's network.

    MoNuSeg's images are 1000×1000 at 0.25 µm a pixel, and rescaled to 1024×1024 (`--size`) for training:
    the network saw 0.25 · 1000 / 1024 = 0.2441 µm a pixel. Other datasets do not say: 0.25 is taken.

    Args:
      info: of the checkpoint.
      network_mpp: overrides it.

    Raises:
      UserError: `network_mpp` is out of range; or other images were rescaled to some size, so that nothing
        can be said without it.
    """
    if network_mpp is not None:
        if not FINEST_MPP <= network_mpp <= COARSEST_MPP:
            raise UserError(
                f"--network-mpp {network_mpp:g}: is not within {FINEST_MPP:g} … {COARSEST_MPP:g} µm a pixel"
            )
        return Magnification(network_mpp, network_mpp, "given")
    dataset, data = info.get("dataset") or {}, info["config"]["data"]
    size = dataset.get("size", data.get("size"))
    if data["dataset"] == "monuseg":
        size = size or _MONUSEG_SIZE
        scaled = TYPICAL_MPP * _MONUSEG_SIDE / size
        return Magnification(TYPICAL_MPP, scaled, f"MoNuSeg at {TYPICAL_MPP:g}, rescaled 1000 → {size}")
    if size is not None:
        raise UserError(
            f"the run was trained on images rescaled to {size} × {size} pixels, and does not say at what "
            "resolution these are. Give it with --network-mpp, in µm a pixel"
        )
    return Magnification(TYPICAL_MPP, TYPICAL_MPP, "the run does not say, 40× is the commonest", True)
