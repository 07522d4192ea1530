"""The segmenter that a request asks for, and what of both the results depend on."""

from typing import Any

from nucseg_jax.cores import usable_cores
from nucseg_jax.inference import trained
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.predict.request import PredictionRequest

MOST_WORKERS = 16
"""Processes that cut nuclei, where the user does not say how many."""

_DECISIVE = ("params_sha256", "masked", "augment", "tile_px", "overlap_px")
"""Facts of the run that decide which nuclei are found, beside how they are cut."""


def segmenter_for(request: PredictionRequest) -> Segmenter:
    """The network; its notes are not said yet, as `Segmenter.load` does.

    Raises:
      UserError: the run or the model cannot be used.
    """
    if request.workdir is not None:
        found = trained.load(request.workdir, request.overrides, request.network_mpp)
    else:
        found = trained.load_pretrained(request.model, request.overrides, request.network_mpp)
    workers = min(MOST_WORKERS, usable_cores()) if request.workers is None else request.workers
    return Segmenter(*found, workers=workers)


def asked_of(segmenter: Segmenter, request: PredictionRequest) -> dict[str, Any]:
    """All that the results depend on beside the slides, as summaries keep it."""
    return {
        **{key: segmenter.facts[key] for key in _DECISIVE},
        **{key: segmenter.facts[key] for key in ("pretrained",) if key in segmenter.facts},
        "instances": {k: v for k, v in segmenter.facts["instances"].items() if k != "from"},
        "mpp": request.mpp,
        "white": request.white,
        "crop": request.crop,
        "network_mpp": segmenter.magnification.network_mpp,
        "formats": request.formats and sorted(set(request.formats)),
        "simplify_um": request.simplify_um,
        "gzip": request.gzip or None,  # null where folders of before these options have nothing
    }
