"""The command line: `nucseg`, mostly one file for each verb.

This file is imported first. It makes Ctrl-C end the process without a traceback even while slow imports run.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence

from nucseg_jax.cli.large_pages import start_again


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nucseg` with arguments.

    Args:
      argv: the arguments; None: those of the process.

    Returns:
      0: done. 1: some of the work failed. 2: wrong usage. 130: Ctrl-C. 143: SIGTERM.
    """
    from nucseg_jax.cli.app import app
    from nucseg_jax.cli.running import run

    return run(app, argv, "nucseg")


def script() -> None:
    """The console script `nucseg`. Ends the process."""
    be_quiet_when_interrupted()
    if sys.argv[1:2] == ["train"]:
        start_again(sys.argv[1:])
    sys.exit(main())


def door(*verb: str, arguments: Sequence[str] | None = None) -> None:
    """Run one verb and end: the body of a `python -m` module.

    Args:
      verb: such as "prepare", "folder".
      arguments: of the verb; None: those of the process.

    Raises:
      SystemExit: with the exit code, unless that is 0.
    """
    if arguments is None:
        be_quiet_when_interrupted()
    code = main([*verb, *(sys.argv[1:] if arguments is None else arguments)])
    if code:
        sys.exit(code)


def be_quiet_when_interrupted() -> None:
    """Make Ctrl-C end the process at once and without a traceback: during imports, and at the end.

    In between, `running.run` lets the command clean up.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
