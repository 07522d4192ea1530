"""Several processes that train together, and which of them speaks."""

import os

import jax
import numpy as np

from nucseg_jax.errors import UserError, shown_lines


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


def is_first_process() -> bool:
    """Whether this process is the one that prints and writes what all agree on."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any of the processes; all of them must ask."""
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def say(message: str) -> None:
    """Print once, not in every process."""
    if is_first_process():
        print(shown_lines(message), flush=True)
