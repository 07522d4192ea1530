"""The platform that a program is written for, known while JAX traces it."""

import jax

traced_for = jax.make_user_context(None)
"""`with traced_for("tpu"): …`: programs traced in the block are for this platform, as JAX names it: "cpu" or
another. Elsewhere JAX's default device decides.

A program that is traced for one platform runs on the others, too, but may be slow there.
"""


def is_for_cpu() -> bool:
    """Whether the program that is being traced is for CPUs."""
    return (traced_for.value or _default()) == "cpu"


def stay_on_cpu() -> None:
    """Let this process use the CPU alone, and leave the other devices to processes that it starts.

    Call it before JAX computes anything.
    """
    jax.config.update("jax_platforms", "cpu")


def _default() -> str:
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    if chosen is None:
        return jax.default_backend()
    return chosen if isinstance(chosen, str) else chosen.platform
