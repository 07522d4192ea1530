"""How far `nucseg predict` is, in a file that other programs read: `--progress FILE`.

The file has a JSON object with the fields of `Progress`. It is always whole. It is written when the stage or
the slide changes, and once a second at most in between.
"""

import json
import time
from pathlib import Path
from typing import Literal, NamedTuple

from nucseg_jax.io.files import write_text

BAR = "{desc} {percentage:3.0f} % |{bar}| {n:.1f}/{total} slides [{elapsed} < {remaining}]"
"""What tqdm shows of it."""

_EVERY_S = 1.0

Stage = Literal["loading", "segmenting", "writing", "waiting"]
"""The network is loaded; nuclei are looked for; the rest of the files is written; others work on all that is
left."""


class Progress(NamedTuple):
    """How far it is.

    Attributes:
      stage: what is being done.
      slide: the path of the slide that it is done to; "" for none.
      part: of this slide that is done, 0 … 1.
      done: slides that are finished, or have failed.
      of: slides that there were to do when the command began; 0 while that is not known.
    """

    stage: Stage
    slide: str = ""
    part: float = 0.0
    done: int = 0
    of: int = 0


class ProgressFile:
    """Keeps `Progress` in a file.

    Args:
      path: of the file, in a folder that exists; None: nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._last: Progress | None = None
        self._written_s = 0.0

    def tell(self, progress: Progress) -> None:
        """Write how far it is.

        Raises:
          UserError, OSError: the file cannot be written.
        """
        if self._path is None:
            return
        now, last = time.monotonic(), self._last
        is_new = last is None or progress._replace(part=0.0) != last._replace(part=0.0)
        if is_new or now - self._written_s >= _EVERY_S:
            write_text(self._path, json.dumps(progress._asdict()) + "\n")
            self._last, self._written_s = progress, now
