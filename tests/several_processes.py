"""Processes that train together, on this machine."""

import os
import socket
import subprocess
from collections.abc import Sequence

COUNT = 2


def started_together(command: Sequence[str], *, devices: int) -> list[subprocess.Popen[str]]:
    """COUNT processes of one training, `--distributed` in their command, each of so many devices."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    shared = {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(COUNT),
    }
    return [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(COUNT)
    ]


def outputs_of(processes: Sequence[subprocess.Popen[str]], timeout_s: float) -> list[str]:
    """What they print until they end; those that do not are killed."""
    try:
        return [process.communicate(timeout=timeout_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
