"""The persistent compilation cache: what XLA has compiled, the next process reads from disk.

Each command that compiles calls `enable` first; so does what loads a trained network in Python. JAX's key of
an entry covers the program, its options, the versions of JAX and XLA, and the device: on a CPU the
instructions that it has, so that machines of several kinds can share a home folder. An entry is the
executable itself, so that a run gives the same bits with the cache and without.
"""

import os
from pathlib import Path

import jax

MAX_BYTES = 2 * 2**30
"""Size at which the entries unused for longest are deleted."""


def enable() -> Path | None:
    """Turn the cache on where JAX's own settings leave it open.

    JAX_COMPILATION_CACHE_DIR names another folder (empty: no cache), JAX_COMPILATION_CACHE_MAX_SIZE another
    size in bytes, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS what is worth keeping, and
    JAX_ENABLE_COMPILATION_CACHE=0 turns it off, wherever the folder is.

    Returns:
      The folder, or None where the cache stays as JAX has it: the user has set it, or the folder cannot be
      written or locked (a read-only home), which is no reason to say anything.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    folder = default_folder()
    if folder is None or not _usable(folder):
        return None
    # With a bound JAX takes a lock to read and write, so that no process reads what another has half written.
    if "JAX_COMPILATION_CACHE_MAX_SIZE" not in os.environ:
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    # A program of 0.1 s is worth keeping: a start has many of them.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def default_folder() -> Path | None:
    """`nucseg_jax/xla` in the user's cache folder (XDG_CACHE_HOME, or ~/.cache); None without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.cache"))
    return root / "nucseg_jax" / "xla" if root.is_absolute() else None


def _usable(folder: Path) -> bool:
    """Make the folder, mend it, and say whether it can be written and locked."""
    try:
        from filelock import FileLock  # what JAX locks with
    except ImportError:
        return False
    try:
        # Whoever can write here decides what code runs.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / ".lockfile", timeout=10):
            _drop_half_written(folder)
            return os.access(folder, os.W_OK)
    except (OSError, NotImplementedError):  # read-only, full, not a folder; a file system without locks
        return False


def _drop_half_written(folder: Path) -> None:
    """Delete what a killed process was writing, which JAX would warn of ever after; call it under the lock.

    JAX writes an entry's time of use after the entry.
    """
    for entry in folder.glob("*-cache"):
        if not entry.with_name(entry.name.removesuffix("-cache") + "-atime").exists():
            entry.unlink()
