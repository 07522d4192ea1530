"""Items of checkpoints, read and held against their digests."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from nucseg_jax.errors import UserError

SHA256 = "sha256"
"""In `info`: by item the digest of what it holds."""


_NO_DAMAGE = (
    "PERMISSION_DENIED",
    "Permission denied",
    "RESOURCE_EXHAUSTED",
    "Input/output error",
    "Too many open",
)
"""What TensorStore and XLA say of files that may be sound."""


class CheckpointError(UserError):
    """A checkpoint is missing or does not fit what is asked of it."""


def restore(manager: ocp.CheckpointManager, step: int, args: Mapping[str, Any]) -> Any:
    """Items of a checkpoint, held against their digests.

    Raises:
      CheckpointError: an item cannot be read, is not what was written, or is not finite.
    """
    info = read_info(manager, step)
    try:
        items = manager.restore(step, args=ocp.args.Composite(**args))
    except Exception as error:  # Orbax and TensorStore raise errors of many types on damaged files
        raise _unreadable(manager, step, error) from error
    for name in args:
        written = (info.get(SHA256) or {}).get(name)  # earlier releases wrote none
        if written is not None and parameter_digest(items[name]) != written:
            raise _damaged(manager, step, f"the SHA-256 of its item {name} is not the one that was written")
        if name != "optimizer" and not _is_finite(items[name]):
            raise _damaged(manager, step, f"its item {name} has values that are not finite")
    return items


def read_info(manager: ocp.CheckpointManager, step: int | None) -> dict[str, Any]:
    """The item `info` of a checkpoint.

    Raises:
      CheckpointError: it cannot be read.
    """
    assert step is not None
    try:
        info = manager.restore(step, args=ocp.args.Composite(info=ocp.args.JsonRestore())).info
    except Exception as error:  # as in `restore`
        raise _unreadable(manager, step, error) from error
    written = (info.get(SHA256) or {}).get("info")
    if written is not None and info_digest(info) != written:
        raise _damaged(manager, step, "the SHA-256 of its item info is not the one that was written")
    return info


def info_digest(info: Mapping[str, Any]) -> str:
    """SHA-256 of an item `info`, but for the digests in it."""
    content = {key: value for key, value in info.items() if key != SHA256}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def parameter_digest(params: Any) -> str:
    """SHA-256 over every parameter's path and bytes: equal digests mean identical parameters."""
    digest = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(first_copy(value)).tobytes())
    return digest.hexdigest()


def first_copy(value: Any) -> Any:
    """A replicated array as the first device of this process has it."""
    return value.addressable_data(0) if isinstance(value, jax.Array) else value


def _is_finite(tree: Any) -> bool:
    return all(np.isfinite(first_copy(leaf)).all() for leaf in jax.tree.leaves(tree))


def _unreadable(manager: ocp.CheckpointManager, step: int, error: Exception) -> CheckpointError:
    """What a failed read means. A right that is missing, or too little memory, is no damage."""
    reason = _first_line(error)
    if isinstance(error, (PermissionError, MemoryError)) or any(sign in str(error) for sign in _NO_DAMAGE):
        return CheckpointError(f"{manager.directory / str(step)}: cannot be read ({reason})")
    return _damaged(manager, step, reason)


def _damaged(manager: ocp.CheckpointManager, step: int, why: str) -> CheckpointError:
    others = [other for other in sorted(manager.all_steps()) if other != step]
    instead = (
        f"Take the one of step {others[-1]}: eval.step={others[-1]}, or, to go on with training, move the "
        "damaged folder elsewhere"
        if others
        else "The run has no other: train again, or take a copy of it"
    )
    return CheckpointError(f"{manager.directory / str(step)}: is damaged ({why}). {instead}")


def _first_line(error: Exception) -> str:
    """An error's kind, and the first line of what it says, if it says anything."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
