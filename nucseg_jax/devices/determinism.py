"""The same bits each time on a GPU, where XLA otherwise takes what is fastest."""

import os

FLAG = "--xla_gpu_deterministic_ops=true"


def use_deterministic_operations() -> None:
    """Have XLA compile, for GPUs, only what gives the same bits each time.

    It holds for all programs of this process. Call it before anything touches a device: XLA reads its flags
    then, once. CPUs give the same bits in any case.
    """
    flags = os.environ.get("XLA_FLAGS", "").split()
    if FLAG not in flags[-1:]:
        os.environ["XLA_FLAGS"] = " ".join([*flags, FLAG])  # the last one of a name holds
