"""Devices and processes: where arrays live, who computes what, and which process prints."""

from nucseg_jax.devices.determinism import use_deterministic_operations
from nucseg_jax.devices.mesh import (
    by_device,
    compiler_options,
    gather_shares,
    jit,
    local_rows,
    make_mesh,
    on_own_mesh,
    own_mesh,
    replicate,
    replicated,
    sharing,
    split,
    split_batch,
)
from nucseg_jax.devices.platform import is_for_cpu, traced_for
from nucseg_jax.devices.processes import (
    any_process,
    from_first,
    gathered,
    is_first_process,
    join_processes,
    leave,
    loss_of_others,
    say,
    share,
)

__all__ = [
    "any_process",
    "by_device",
    "compiler_options",
    "from_first",
    "gather_shares",
    "gathered",
    "is_first_process",
    "is_for_cpu",
    "jit",
    "join_processes",
    "leave",
    "local_rows",
    "loss_of_others",
    "make_mesh",
    "on_own_mesh",
    "own_mesh",
    "replicate",
    "replicated",
    "say",
    "share",
    "sharing",
    "split",
    "split_batch",
    "traced_for",
    "use_deterministic_operations",
]
