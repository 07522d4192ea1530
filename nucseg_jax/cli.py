"""The console script `nucseg`: a verb, and what its command takes.

nucseg prepare {monuseg,folder,pack,synthetic} …    raw images → a dataset
nucseg train --config configs/unet_small.py …       a dataset → a run
nucseg evaluate --config configs/unet_small.py …    a run → scores
nucseg predict --workdir RUN SLIDE… --out DIR       slides → nuclei
nucseg report --workdirs RUN… --out DIR             runs → a page that compares them

Each is a `python -m` command under another name (data_prep.…, nucseg_jax.main, .predict, .report); its --help
says the rest.
"""

import importlib
import runpy
import sys
from collections.abc import Sequence

_DATASETS = ("monuseg", "folder", "pack", "synthetic")
_MODES = {"train": "train", "evaluate": "eval"}
_COMMANDS = {"predict": "nucseg_jax.predict.__main__", "report": "nucseg_jax.report.__main__"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a verb's command with the other arguments."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(__doc__.strip())
    elif verb == "prepare" and rest[:1] and rest[0] in _DATASETS:
        sys.exit(importlib.import_module(f"data_prep.{rest[0]}").main(rest[1:]))
    elif verb == "prepare":
        sys.exit(f"error: nucseg prepare takes one of {', '.join(_DATASETS)}, and then its arguments")
    elif verb in _MODES:
        # This command has absl's flags, which are read from sys.argv.
        sys.argv = ["nucseg_jax.main", f"--mode={_MODES[verb]}", *rest]
        runpy.run_module("nucseg_jax.main", run_name="__main__", alter_sys=False)
    elif verb in _COMMANDS:
        importlib.import_module(_COMMANDS[verb]).main(rest)
    else:
        verbs = ", ".join(["prepare", *_MODES, *_COMMANDS])
        sys.exit(f"error: unknown verb {verb!r}: it must be one of {verbs}. nucseg --help says what they do")
