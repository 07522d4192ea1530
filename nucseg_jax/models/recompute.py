"""Activations inside of blocks: kept for the backward pass, or computed again there.

The latter takes less memory and more time. Networks and encoders are `Recomputing` modules: they run their
blocks by `block`, which does the one or the other. Parameters and their paths are the same in both; gradients
and batch statistics are the same to float rounding.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from nucseg_jax.errors import UserError, in_short

RECOMPUTE = ("auto", "none", "blocks")
"""What may be computed again: what each network does of its own accord, nothing, or all blocks."""

_T = TypeVar("_T")
_KEPT = "kept"


class Recomputing(nnx.Module):
    """A module that is made of blocks.

    Attributes:
      recomputes: the backward pass computes the activations inside of the blocks again.
      deterministic: the module is in inference, where nothing is kept (`nnx.Module.eval` sets it).
    """

    recomputes: bool = False
    deterministic: bool = False

    def block(self, function: Callable[..., _T], *operands: object) -> _T:
        """`function(*operands)`, a block.

        Where this module recomputes, the operands are kept for the backward pass, and what `kept` has marked;
        all else is computed again. Batch statistics are updated once, and dropout draws the same numbers the
        second time.

        Args:
          function: of the operands alone.
          operands: modules, arrays, and lists and tuples of them.
        """
        if self.deterministic or not self.recomputes:
            return function(*operands)
        policy = jax.checkpoint_policies.save_only_these_names(_KEPT)
        # As pytrees: no block shares a variable with another one.
        again: Callable[..., _T] = nnx.remat(function, policy=policy, graph=False)
        return again(*operands)


def kept(x: _T) -> _T:
    """The arrays themselves, which each block keeps: small ones that take long sums, or messages, to make."""
    named: _T = checkpoint_name(x, _KEPT)
    return named


def choose(model: nnx.Module, recompute: str) -> None:
    """Have a network compute again what is asked for.

    Args:
      model: a network, or an encoder.
      recompute: one of RECOMPUTE.

    Raises:
      UserError: it is none of them.
    """
    if recompute not in RECOMPUTE:
        raise UserError(
            f"model.recompute must be one of {', '.join(RECOMPUTE)}, got {in_short(repr(recompute))}"
        )
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Recomputing):
            module.recomputes = type(module).recomputes if recompute == "auto" else recompute == "blocks"
