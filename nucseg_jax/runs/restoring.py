"""Items of checkpoints, read and held against their digests; and what is said of those that are damaged."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from nucseg_jax import devices
from nucseg_jax.data.json_values import sha256_of
from nucseg_jax.errors import UserError, in_short

if TYPE_CHECKING:  # Orbax takes a third of a second, and a model that is installed needs none of it
    import orbax.checkpoint as ocp

SHA256 = "sha256"
"""In `info`: by item the digest of what it holds; that of `info` is of what else it holds."""

METRICS = "metrics"
"""Orbax's name of the item with the scores."""

_NO_DAMAGE = (
    "PERMISSION_DENIED",
    "Permission denied",
    "RESOURCE_EXHAUSTED",
    "Input/output error",
    "Too many open",
)
"""What TensorStore and XLA say of files that may be sound."""

_AGAIN = "Mend that, and start the command again"


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or does not fit what is asked of it."""


def restore(manager: ocp.CheckpointManager, step: int, args: Mapping[str, Any]) -> Any:
    """Items of a checkpoint, held against their digests.

    Raises:
      CheckpointError: an item cannot be read, is not what was written, or is not finite.
    """
    import orbax.checkpoint as ocp

    info = read_info(manager, step)
    with whole(manager, step):
        items = manager.restore(step, args=ocp.args.Composite(**args))
        for name in args:
            _check_digest(info, name, parameter_digest(items[name]))
            if name != "optimizer" and not _is_finite(items[name]):
                raise ValueError(f"its item {name} has values that are not finite")
    return items


def read_info(manager: ocp.CheckpointManager, step: int | None) -> dict[str, Any]:
    """The item `info` of a checkpoint.

    Raises:
      CheckpointError: it cannot be read, or is not what was written.
    """
    import orbax.checkpoint as ocp

    assert step is not None
    with whole(manager, step):
        info = manager.restore(step, args=ocp.args.Composite(info=ocp.args.JsonRestore())).info
        _check_digest(info, "info", info_digest(info))
    return info


def read_scores(manager: ocp.CheckpointManager, step: int) -> Mapping[str, float] | None:
    """The scores of the held-out images that a checkpoint has, None where it has none.

    Raises:
      CheckpointError: they cannot be read, or are not those that were written.
    """
    info = read_info(manager, step)
    with whole(manager, step):
        metrics = manager.metrics(step)
        if metrics is not None or METRICS in (info.get(SHA256) or {}):
            _check_digest(info, METRICS, sha256_of(metrics or {}))
    return metrics


@contextlib.contextmanager
def whole(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Turns what goes wrong in the block into the error for the checkpoint of a step.

    A right that is missing, or too little memory, is no damage; nor is what this release does not know.
    """
    path = manager.directory / str(step)
    try:
        yield
    except UserError as error:
        raise CheckpointError(
            f"{path}: does not fit this release ({in_short(error)}). Take the release that wrote it"
        ) from error
    except Exception as error:  # Orbax and TensorStore raise errors of many types on damaged files
        if _may_be_sound(error):
            raise CheckpointError(f"{path}: cannot be read ({in_short(error)}). {_AGAIN}") from error
        raise _damaged(manager, step, in_short(error)) from error


@contextlib.contextmanager
def readable(directory: Path) -> Iterator[None]:
    """The same for what belongs to no checkpoint, or to several."""
    try:
        yield
    except Exception as error:  # as in `whole`
        remedy = "Take the folder of the damaged checkpoint away, or copy the run again"
        raise CheckpointError(
            f"{directory}: cannot be read ({in_short(error)}). {_AGAIN if _may_be_sound(error) else remedy}"
        ) from error


def info_digest(info: Mapping[str, Any]) -> str:
    """SHA-256 of an item `info`, but for the digests in it."""
    return sha256_of(info, SHA256)


def parameter_digest(params: Any) -> str:
    """SHA-256 over every parameter's path and bytes: equal digests mean identical parameters.

    All processes must ask, where they hold parts of them.
    """
    digest = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(devices.on_host(value)).tobytes())
    return digest.hexdigest()


def _is_finite(tree: Any) -> bool:
    return all(np.isfinite(devices.on_host(leaf)).all() for leaf in jax.tree.leaves(tree))


def _check_digest(info: Mapping[str, Any], name: str, found: str) -> None:
    """Raise ValueError unless an item is what was written. `found`: the digest of what was read."""
    digests = info.get(SHA256)
    # Checkpoints without digests are earlier than fine-tuning, which is what `init` is of.
    if SHA256 not in info and "init" not in info:
        return
    if not isinstance(digests, Mapping) or digests.get(name) != found:
        raise ValueError(f"the SHA-256 of its item {name} is not the one that was written")


def _may_be_sound(error: Exception) -> bool:
    """Whether a failed read says nothing of the file."""
    return isinstance(error, (PermissionError, MemoryError)) or any(sign in str(error) for sign in _NO_DAMAGE)


def _damaged(manager: ocp.CheckpointManager, step: int, why: str) -> CheckpointError:
    others = [other for other in sorted(manager.all_steps()) if other != step]
    instead = (
        f"Take the one of step {others[-1]}: eval.step={others[-1]}, or, to go on with training, move the "
        "damaged folder elsewhere"
        if others
        else "The run has no other: train again, or take a copy of it"
    )
    return CheckpointError(f"{manager.directory / str(step)}: is damaged ({why}). {instead}")
