"""What a command does before it computes."""


def begin(*, distributed: bool = False, deterministic: bool = False) -> None:
    """Use the compilation cache, join the other processes, and keep libraries from narrating.

    Args:
      distributed: this is one of several processes (`devices.join_processes`).
      deterministic: the same bits each time on GPUs, too (`devices.use_deterministic_operations`).
    """
    from absl import logging

    from nucseg_jax import devices
    from nucseg_jax.devices import compilation_cache

    if deterministic:  # before the first device
        devices.use_deterministic_operations()
    logging.set_verbosity(logging.ERROR)  # Orbax and TFDS
    compilation_cache.enable()
    if distributed:
        devices.join_processes()
