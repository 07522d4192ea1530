"""Devices and processes: where arrays live, who computes what, and which process prints."""

from nucseg_jax.devices.determinism import use_deterministic_operations
from nucseg_jax.devices.mesh import (
    by_device,
    compiler_options,
    gather_shares,
    jit,
    local_rows,
    make_mesh,
    place,
    replicate,
    replicated,
    sharing,
    split,
    split_batch,
)
from nucseg_jax.devices.partition import bytes_on_device, gather, in_parts, on_host, partition, whole
from nucseg_jax.devices.platform import is_for_cpu, traced_for
from nucseg_jax.devices.processes import (
    any_process,
    is_first_process,
    join_processes,
    leave,
    loss_of_others,
    say,
)

__all__ = [
    "any_process",
    "by_device",
    "bytes_on_device",
    "compiler_options",
    "gather",
    "gather_shares",
    "in_parts",
    "is_first_process",
    "is_for_cpu",
    "jit",
    "join_processes",
    "leave",
    "local_rows",
    "loss_of_others",
    "make_mesh",
    "on_host",
    "partition",
    "place",
    "replicate",
    "replicated",
    "say",
    "sharing",
    "split",
    "split_batch",
    "traced_for",
    "use_deterministic_operations",
    "whole",
]
