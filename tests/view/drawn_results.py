"""Results as `nucseg predict` writes them, of drawn slides and nuclei: no network is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.export import Exports
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.slides import file_state
from tests.drawn_tissue import tissue
from tests.export.drawn_nuclei import many

MPP = 0.25
FRAME = Frame(size=(300, 400), mpp=MPP, network_mpp=MPP)


def write_slide(
    path: Path, size: tuple[int, int] = FRAME.size, *, mpp: float | None = MPP
) -> NDArray[np.uint8]:
    """Write a PNG or a TIFF (of its ending) of drawn tissue, and give its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = tissue(*size, count=30)
    dots = None if mpp is None else 25400 / mpp
    if path.suffix == ".tif":
        options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate"}
        if dots is not None:
            options |= {"resolution": (dots / 2.54, dots / 2.54), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path, **({} if dots is None else {"dpi": (dots, dots)}))
    return pixels


def write_result(
    folder: Path,
    slide: Path,
    nuclei: Sequence[Nucleus] | None = None,
    *,
    frame: Frame = FRAME,
    request: dict[str, Any] | None = None,
    **options: Any,
) -> list[Nucleus]:
    """Write the result of a slide, and give its nuclei: by default 60 at random places."""
    nuclei = many(60, frame) if nuclei is None else list(nuclei)
    options.setdefault("formats", ["parquet", "neighbours", "density"])
    state = file_state(slide)._asdict()
    asked = {"source": str(slide), "mpp": None, "white": None, "crop": True, "masked": [], **state}
    asked |= request or {}
    with Exports(
        folder,
        frame,
        source=slide,
        thumbnail=np.full((30, 40, 3), 230, np.uint8),
        config={"request": asked, "run": {"instances": {}}, "notes": []},
        seconds={},
        **options,
    ) as exports:
        for nucleus in nuclei:
            exports.add(nucleus)
    return nuclei
