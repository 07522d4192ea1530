"""What a user asks of a prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucseg_jax.pretrained import DEFAULT


@dataclass(frozen=True)
class PredictionRequest:
    """What to do with slides.

    Attributes:
      workdir: a run's folder; None: `model` is used.
      out: folder that each slide's folder goes to.
      overrides: dotted keys of the run's config → values.
      model: an installed model's name, or a file (`pretrained.load`).
      mpp: µm a pixel of all the slides, whatever their files say; None: as they say.
      white: the value that is white in images of 16 bits; None: as the pixels of each say.
      crop: slides to what was scanned, as QuPath does; False: the full canvas of their files.
      network_mpp: µm a pixel that the network was trained at; None: as the run says.
      formats: of `export.FORMATS` and `EXTRA_FORMATS`; None: all of `FORMATS`.
      simplify_um: how far outlines in files may be from the exact ones, µm; None: they are exact.
      gzip: the GeoJSON.
      workers: processes that cut nuclei, and make the text of files, while the device computes; None: one a
        core that this process may use, at most 16.
      overwrite: do finished slides again.
      scratch: folder for temporary files; None: the system's.
      progress: a file that says how far it is (`predict.progress`); None: there is none.
    """

    workdir: Path | None
    out: Path
    overrides: Mapping[str, Any]
    model: str = DEFAULT
    mpp: float | None = None
    white: int | None = None
    crop: bool = True
    network_mpp: float | None = None
    formats: Sequence[str] | None = None
    simplify_um: float | None = None
    gzip: bool = False
    workers: int | None = 0
    overwrite: bool = False
    scratch: Path | None = None
    progress: Path | None = None
