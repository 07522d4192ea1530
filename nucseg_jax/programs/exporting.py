"""A trained network → a file, once what the file computes has been compared with the network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from nucseg_jax import __version__, runs
from nucseg_jax.errors import FailedError, UserError
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.io.files import replacing
from nucseg_jax.models import STRIDE_PX
from nucseg_jax.programs import stablehlo
from nucseg_jax.programs.tissue import tissue
from nucseg_jax.runs.model import LoadedModel, network_of

FORMATS = ("stablehlo", "onnx")
BAR = 1e-4
"""How far a file's logits may be from the network's, as a part of their range."""

Runner = Callable[[NDArray[np.uint8]], NDArray[Any]]


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
      format: of FORMATS.
      side: of the square images in pixels; None: as large as inference shows tiles to the network.
      batch: images at once.
      platforms: that a StableHLO program is for (`stablehlo.PLATFORMS`).
    """

    format: str
    side: int | None = None
    batch: int = 1
    platforms: tuple[str, ...] = stablehlo.PLATFORMS


class Exported(NamedTuple):
    """What was written.

    Attributes:
      shape: of the images, [B,H,W,3].
      difference: the largest one between the file's logits and the network's, as a part of their range; None
        where this machine cannot run the file.
    """

    shape: tuple[int, int, int, int]
    difference: float | None


def export(model: LoadedModel, path: Path, wanted: Wanted) -> Exported:
    """Write a network, with its weights, as one file: uint8[B,H,W,3] RGB → float32 logits [B,H,W,C].

    The file appears when its logits of an image of tissue are the network's, to BAR.

    Args:
      model: as loaded.
      path: of the file.
      wanted: how.

    Raises:
      UserError: images of such a size cannot be shown to the network; the format cannot have a part of it;
        the file's folder is not there.
      MissingExtraError: a package is missing.
      FailedError: the file computes something else.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: its folder does not exist. Make it, or give another one")
    shape = shape_of(model, wanted)
    make = _onnx if wanted.format == "onnx" else _stablehlo
    content, run, expected = make(model, shape, wanted)
    difference = None if run is None else _compared(run, expected, model, shape, path)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return Exported(shape, difference)


def shape_of(model: LoadedModel, wanted: Wanted) -> tuple[int, int, int, int]:
    """Of the images that a file takes.

    Raises:
      UserError: the network does not take such images.
    """
    config, _ = runs.experiment_of(model.info)
    side, scale = wanted.side, config.model.input_scale
    if side is None:
        side = tilings_of(config)[-1].tile
    if wanted.batch < 1:
        raise UserError(f"--batch must be at least 1, got {wanted.batch}")
    if side < 1 or side * scale % STRIDE_PX:
        raise UserError(
            f"--side {side}: the network sees images at scale {scale:g}, and takes multiples of {STRIDE_PX} "
            f"pixels. Give a multiple of {STRIDE_PX / scale:g}"
        )
    return wanted.batch, side, side, 3


def _stablehlo(
    model: LoadedModel, shape: tuple[int, int, int, int], wanted: Wanted
) -> tuple[bytes, Runner | None, Runner]:
    content = stablehlo.program(model.network, model.weights, shape, wanted.platforms)
    return content, stablehlo.runner(content), _logits(model.network.predict, model)


def _onnx(
    model: LoadedModel, shape: tuple[int, int, int, int], wanted: Wanted
) -> tuple[bytes, Runner, Runner]:
    """In float32, whatever the network computes in."""
    if (model.info.get("stain") or {}).get("where") == "model":
        raise UserError(
            "--format onnx: this network normalises stains as its first step, which its PyTorch twin does "
            "not. Take --format stablehlo, which has that step"
        )
    from nucseg_jax.programs import onnx_file

    config = model.info["config"]
    info = {**model.info, "config": {**config, "model": {**config["model"], "dtype": "float32"}}}
    facts = {
        "nucseg_jax": __version__,
        "network": config["model"]["name"],
        "step": str(model.step),
        "classes": ", ".join(model.info.get("classes", ())),
        "um_per_pixel": str((model.info.get("resolution") or {}).get("network_mpp", "unknown")),
    }
    content = onnx_file.model(info, model.weights, shape, facts)
    network, _ = network_of(info)
    return content, onnx_file.runner(content), _logits(network.predict, model)


def _logits(predict: Callable[..., jax.Array], model: LoadedModel) -> Runner:
    compiled = jax.jit(predict)
    return lambda images: np.asarray(compiled(*model.weights, images))


def _compared(
    run: Runner, expected: Runner, model: LoadedModel, shape: tuple[int, int, int, int], path: Path
) -> float:
    """The largest difference on an image of tissue, as a part of the logits' range.

    Raises:
      FailedError: it is more than BAR. SegNet may have 2 % of its pixels beyond it: where two values of a
        pooling window are all but equal, rounding chooses the place.
    """
    images = tissue(model.info, *shape[:2])
    theirs, ours = run(images), expected(images)
    differences = np.abs(theirs - ours) / max(float(np.ptp(ours)), np.finfo(np.float32).tiny)
    beyond = float((differences.max(-1) > BAR).mean())
    if not np.isfinite(theirs).all() or beyond > (0.02 if _unpools(model) else 0.0):
        raise FailedError(
            f"{path}: not written. Its logits differ from the network's by up to {differences.max():.1e} of "
            f"their range, and may by {BAR:g}. Tell the authors of nucseg_jax, with the network's name"
        )
    return float(differences.max())


def _unpools(model: LoadedModel) -> bool:
    return bool(model.info["config"]["model"]["name"] == "segnet")
