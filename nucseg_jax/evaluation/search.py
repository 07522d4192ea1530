"""Which parameters make the best nuclei of a network's probabilities: every combination is tried."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from tqdm import tqdm

from nucseg_jax import instances, metrics
from nucseg_jax.config import get_config
from nucseg_jax.data.distances import relative_depth
from nucseg_jax.instances import NucleusMap
from nucseg_jax.models.targets import class_probabilities
from nucseg_jax.nuclei import Frame

Grid = Mapping[str, tuple[float, ...]]
"""Values to try of each parameter of a method."""

_THRESHOLDS = (0.4, 0.5, 0.6)
_AREAS_UM2 = (0.0, 1.875, 4.375)  # the last one is the paper's minimum of a counted nucleus

GRIDS: dict[str, Grid] = {
    "components": {"threshold": _THRESHOLDS, "min_area_um2": _AREAS_UM2},
    "watershed": {
        "threshold": _THRESHOLDS,
        "h_um": (0.125, 0.1875, 0.25, 0.375),
        "smoothing_um": (0.25, 0.5),
        "min_area_um2": _AREAS_UM2,
    },
    "boundary": {
        "threshold": _THRESHOLDS,
        "inside_threshold": (0.5, 0.6, 0.7, 0.8),
        "min_marker_um2": (0.625, 1.25),
        "min_area_um2": _AREAS_UM2,
    },
    "depth": {
        "threshold": _THRESHOLDS,
        "h": (0.1, 0.15, 0.2, 0.25),
        "smoothing_um": (0.25, 0.5, 0.75),
        "min_area_um2": (*_AREAS_UM2, 6.25),
    },
    "polar": {
        "threshold": _THRESHOLDS,
        "h": (0.1, 0.15),
        "smoothing_um": (0.25, 0.5),
        "rise": (0.1, 0.2),
        "overlap": (0.5, 0.7),
        "min_area_um2": (*_AREAS_UM2, 6.25),
    },
}
"""What is tried: every combination; the last three only of networks with a class for boundaries."""


class Scene(NamedTuple):
    """An image to tune on.

    Attributes:
      nucleus_map: what a network, or several, say of it, at the network's level.
      frame: where that lies on the image.
      truth: its nuclei, a label map int32 [H, W] of the image.
      unannotated: bool [H, W], true where nobody looked for nuclei; None: nowhere.
    """

    nucleus_map: NucleusMap
    frame: Frame
    truth: NDArray[np.int32]
    unannotated: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Setting:
    """A method with its parameters, and what comes of it.

    Attributes:
      method, parameters: as in `config.instances`.
      aji, pq: means over images.
      seconds: that it takes to split an image.
    """

    method: str
    parameters: dict[str, float]
    aji: float
    pq: float
    seconds: float

    @property
    def config(self) -> ConfigDict:
        """As `instances.split` takes it."""
        return _config(self.method, self.parameters)

    @property
    def overrides(self) -> list[str]:
        """KEY=VALUE, which give a command this setting."""
        values = [f"instances.{self.method}.{key}={v}" for key, v in self.parameters.items()]
        return [f"instances.method={self.method}", *values]


def search(scenes: Sequence[Scene], grids: Mapping[str, Grid] = GRIDS) -> list[Setting]:
    """Try every combination of each method's grid.

    Args:
      scenes: the images.
      grids: by method; a grid has `min_area_um2`. Parameters that it lacks have their defaults.

    Returns:
      The settings in the order of the grids; without those that need boundaries where the maps have none.
    """
    settings = []
    for method, grid in grids.items():
        if method in instances.WITH_BOUNDARY and scenes[0].nucleus_map.boundary is None:
            continue
        others = {key: values for key, values in grid.items() if key != "min_area_um2"}
        combinations = list(itertools.product(*others.values()))
        for values in tqdm(combinations, desc=method, unit="setting", leave=False):
            parameters = dict(zip(others, values, strict=True))
            settings += _try(scenes, method, parameters, grid["min_area_um2"])
    return settings


def _try(
    scenes: Sequence[Scene], method: str, parameters: dict[str, float], areas_um2: Sequence[float]
) -> list[Setting]:
    """A setting for each minimum area; every method drops small nuclei last, so that one split serves all."""
    config = _config(method, parameters | {"min_area_um2": 0.0})
    started = time.perf_counter()
    nuclei = [instances.split(scene.nucleus_map, config, scene.frame.network_mpp) for scene in scenes]
    seconds = (time.perf_counter() - started) / len(scenes)
    settings = []
    for area in areas_um2:
        tables = [
            metrics.overlaps(
                scene.truth,
                scene.frame.label_map(_without_small(found, area, scene.frame)),
                scene.unannotated,
            )
            for scene, found in zip(scenes, nuclei, strict=True)
        ]
        aji = float(np.mean([metrics.aji(t) for t in tables]))
        pq = float(np.mean([metrics.panoptic_quality(t)[0] for t in tables]))
        settings.append(Setting(method, parameters | {"min_area_um2": area}, aji, pq, seconds))
    return settings


def _config(method: str, parameters: Mapping[str, float]) -> ConfigDict:
    """`config.instances` with a method's parameters; those that no grid has are the defaults."""
    config = get_config().instances
    config.method = method
    config[method].update(parameters)
    return config


def _without_small(nuclei: NDArray[np.int32], area_um2: float, frame: Frame) -> NDArray[np.int32]:
    """As `instances.split` drops them."""
    return metrics.remove_small(nuclei, instances.area_px(area_um2, frame.network_mpp))


def best_of_methods(settings: Sequence[Setting]) -> dict[str, Setting]:
    """The setting of highest AJI of each method, the first of equals; the best method first."""
    best: dict[str, Setting] = {}
    for setting in sorted(settings, key=lambda s: -s.aji):
        best.setdefault(setting.method, setting)
    return best


def ceiling(scenes: Sequence[Scene], setting: Setting) -> float:
    """Mean AJI that a setting gives on perfect probabilities: of the true nuclei, and of their boundaries.

    The boundary is an edge, but for `depth` and `polar` one of distances (`model.boundary`).
    """
    perfect = [_perfect(scene, of_distances=setting.method in ("depth", "polar")) for scene in scenes]
    grid = {key: (value,) for key, value in setting.parameters.items()}
    return search(perfect, {setting.method: grid})[0].aji


def _perfect(scene: Scene, *, of_distances: bool) -> Scene:
    """The image as a network sees it that says the truth of every pixel."""
    depth = jnp.asarray(relative_depth(scene.truth))[None] if of_distances else None
    classes = class_probabilities(jnp.asarray(scene.truth)[None], 3, depth)[0]
    frame = Frame(scene.frame.size, scene.frame.mpp, scene.frame.mpp)
    return Scene(NucleusMap.of_classes(np.asarray(classes)), frame, scene.truth, scene.unannotated)
