"""Several processes that train together, which of them speaks, and how one that fails lets the others end."""

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np

from nucseg_jax.errors import UserError, shown_lines

T = TypeVar("T")


def join_processes() -> None:
    """Make this process one of several that train together; call it before anything touches a device.

    SLURM, Open MPI, Kubernetes and TPU pods are recognised by JAX; elsewhere JAX_COORDINATOR_ADDRESS
    (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID name the group.

    Raises:
      UserError: neither is the case.
    """
    explicit = [
        os.environ.get(f"JAX_{key}") for key in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
    ]
    address, processes, process = explicit
    # JAX's own service takes SIGTERM away from Python, whose handler has training save a checkpoint.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        if address and processes and process:
            jax.distributed.initialize(address, int(processes), int(process))
        else:
            jax.distributed.initialize()
    except ValueError as error:
        raise UserError(
            f"cannot join the other processes ({error}): start under SLURM or on a TPU pod, or set "
            "JAX_COORDINATOR_ADDRESS=HOST:PORT, JAX_NUM_PROCESSES=N and JAX_PROCESS_ID=0…N-1"
        ) from error


_SIGNS = ("Gloo", "NCCL", "Connection", "UNAVAILABLE", "heartbeat", "coordination service", "Socket closed")
_PATIENCE_S = 10.0  # that a process which fails waits for the others to end with it
_HEAD_START_S = 3.0  # of the others, which JAX aborts as soon as the first process has gone


def loss_of_others(error: Exception) -> str | None:
    """What to tell of an error that comes from another process having gone; None of another error."""
    if jax.process_count() == 1 or not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    if not any(sign in str(error) for sign in _SIGNS):
        return None
    return (
        f"process {jax.process_index()} of {jax.process_count()}: another process of this training has "
        "ended, or cannot be reached: look at what the others print. Start all of them again with the same "
        "command: they go on from the last checkpoint"
    )


def leave(code: int, *, lost: bool) -> None:
    """End this process, which is one of several and has failed; do nothing where it is alone.

    Python's own end would wait minutes for others that wait for this one, and JAX would then abort with pages
    of text.

    Args:
      code: the exit code.
      lost: others have gone already, so that there is nobody to wait for.
    """
    if not jax.distributed.is_initialized():
        return
    if lost:
        if jax.process_index() == 0:
            time.sleep(_HEAD_START_S)
    else:  # all fail in the same way, as with a wrong setting, and end together; or this one alone
        end = threading.Thread(target=jax.distributed.shutdown, daemon=True)
        end.start()
        end.join(_PATIENCE_S)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def is_first_process() -> bool:
    """Whether this process is the one that prints and writes what all agree on."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any of the processes; all of them must ask."""
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def share(items: Sequence[T]) -> Sequence[T]:
    """The items that are this process's to work on: every item is one process's (see `of_all_processes`)."""
    return items[jax.process_index() :: jax.process_count()]


def of_all_processes(results: Sequence[T]) -> list[T]:
    """What all processes made of their `share` of some items, in the order of the items; all must ask.

    Args:
      results: of this process, one an item. They can be pickled.
    """
    from jax.experimental import multihost_utils

    count = jax.process_count()
    if count == 1:
        return list(results)
    # As bytes: JAX would make float32 of what is float64.
    mine = np.frombuffer(pickle.dumps(list(results)), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(mine.size))
    padded = np.pad(mine, (0, sizes.max() - mine.size))
    rows = multihost_utils.process_allgather(padded)
    parts = [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]
    return [parts[i % count][i // count] for i in range(sum(map(len, parts)))]


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, in every process; all must ask."""
    return of_all_processes([make()] if is_first_process() else [])[0]


def say(message: str) -> None:
    """Print once, not in every process."""
    if is_first_process():
        print(shown_lines(message), flush=True)
