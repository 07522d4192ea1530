"""The resolution that a run's network sees, as its checkpoint says."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError
from nucseg_jax.runs import earlier
from nucseg_jax.slides.resolution import COARSEST_MPP, FINEST_MPP


class Magnification(NamedTuple):
    """At what resolution a network was trained.

    Attributes:
      network_mpp: µm a pixel of what the network saw; slides are read at that, and images that say none are
        taken to have it.
      source: how that is known.
      assumed: nothing says so; it is the commonest.
    """

    network_mpp: float
    source: str
    assumed: bool = False


def of_checkpoint(info: Mapping[str, Any], network_mpp: float | None = None) -> Magnification:
    """The resolution of a checkpoint's network.

    Args:
      info: of the checkpoint; training writes its `resolution`.
      network_mpp: overrides it.

    Raises:
      UserError: `network_mpp` is out of range; or the checkpoint is of an earlier release, and nothing can be
        said without it.
    """
    if network_mpp is not None:
        if not FINEST_MPP <= network_mpp <= COARSEST_MPP:
            raise UserError(
                f"--network-mpp {network_mpp:g}: is not within {FINEST_MPP:g} … {COARSEST_MPP:g} µm a pixel"
            )
        return Magnification(network_mpp, "given")
    found = info.get("resolution")
    if found is None:
        return Magnification(*earlier.resolution(info))
    source = found["source"]
    return Magnification(found["network_mpp"], source, source.startswith("assumed"))
