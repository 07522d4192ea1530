"""A run's folder: its checkpoints, its config, its tuned settings, its stain target.

`compatibility` says whether it may be resumed, `unseen` whether it may be scored on some images.
"""

from nucseg_jax.runs.naming import names_of
from nucseg_jax.runs.run import (
    Run,
    check_effect,
    experiment_of,
    mpp_of,
    open_as,
    open_run,
    portable_info,
    run_of_model,
)
from nucseg_jax.runs.tuned import TUNING

__all__ = [
    "TUNING",
    "Run",
    "check_effect",
    "experiment_of",
    "mpp_of",
    "names_of",
    "open_as",
    "open_run",
    "portable_info",
    "run_of_model",
]
