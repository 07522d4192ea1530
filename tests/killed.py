"""A run that was killed, without the wait for a real kill (`test_main` has one)."""

import shutil
from pathlib import Path


def keep_until(workdir: Path, step: int) -> None:
    """Leave a run's folder as a kill leaves it after the checkpoint of `step`: its log is further on.

    Args:
      workdir: the folder of a run that has kept the checkpoint of `step` (`checkpoint.keep`).
      step: of the last checkpoint that stays.
    """
    checkpoints = workdir / "checkpoints"
    assert (checkpoints / str(step)).is_dir(), sorted(folder.name for folder in checkpoints.iterdir())
    for folder in checkpoints.iterdir():
        if folder.name.isdigit() and int(folder.name) > step:
            shutil.rmtree(folder)
