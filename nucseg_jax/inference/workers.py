"""The processes that cut nuclei and make what is written of them.

They know nothing of JAX, which would cost each a second and 160 MB.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def processes(count: int) -> ProcessPoolExecutor:
    """A pool; its processes start when they are needed, and end with this one, however it ends."""
    # Not forked: a process with JAX's threads in it must not be.
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _serve_parent)


def _serve_parent() -> None:
    """Begin a process: Ctrl-C is for its parent, and it ends when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()  # a parent that was killed could not end it
        os._exit(1)

    threading.Thread(target=follow, name="follow", daemon=True).start()
