"""The resolution that a run's network sees, as its checkpoint says."""

import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, in_short
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


def of_checkpoint(
    info: Mapping[str, Any], network_mpp: float | None = None, where: str = "the checkpoint"
) -> Magnification:
    """The resolution of a checkpoint's network.

    Args:
      info: of the checkpoint; training writes its `resolution`.
      network_mpp: overrides it.
      where: the checkpoint is from, for messages.

    Raises:
      UserError: `network_mpp`, or what the checkpoint says, is out of range or no number; or the checkpoint
        is of an earlier release, and nothing can be said without it.
    """
    if network_mpp is not None:
        if not FINEST_MPP <= network_mpp <= COARSEST_MPP:
            raise UserError(
                f"--network-mpp {network_mpp:g}: is not within {FINEST_MPP:g} … {COARSEST_MPP:g} µm a pixel"
            )
        return Magnification(network_mpp, "given")
    remedy = "--network-mpp, or network_mpp= in Python"
    try:
        found = _said(info)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: does not say at what resolution it was trained ({in_short(error)}). Give it with "
            f"{remedy}"
        ) from error
    if not FINEST_MPP <= found.network_mpp <= COARSEST_MPP:
        raise UserError(
            f"{where}: says that it was trained at {found.network_mpp:g} µm a pixel, which is not within "
            f"{FINEST_MPP:g} … {COARSEST_MPP:g}. Give the right value with {remedy}"
        )
    return found


def _said(info: Mapping[str, Any]) -> Magnification:
    """What a checkpoint says; errors of many kinds where it is not one of this package."""
    found = info.get("resolution")
    if found is None:
        return Magnification(*earlier.resolution(info))
    mpp, source = found["network_mpp"], found["source"]
    if isinstance(mpp, bool) or not isinstance(mpp, numbers.Real):
        raise TypeError(f"network_mpp is {in_short(repr(mpp))}")
    if not isinstance(source, str):
        raise TypeError(f"source is {in_short(repr(source))}")
    return Magnification(float(mpp), source, source.startswith("assumed"))
