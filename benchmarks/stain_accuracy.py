"""Where our Vahadane normalisation and staintools' differ, image by image: the second table of `stain`.

Degrees: between our stain vectors of an image and staintools', by its extraction as it is (on a busy machine
its second is worth fewer steps), or after a number of steps on one thread. Objective: what both minimise, the
mean over staintools' tissue pixels x of ½‖x − Sᵀc‖² + 0.1 Σc, with the best c ≥ 0 for the vectors S by
SPAMS's own lasso; lower is better. Grey levels: mean absolute difference of the normalised images; both are
fitted to the same target, each with its own vectors. Ours rounds to whole grey levels, staintools cuts them
off: half a level of the difference.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import shown
from benchmarks.stain_peers import Known, Steps, staintools_normalizer
from nucseg_jax.stain import VahadaneNormalizer

LIMITS = {"hematoxylin_degrees": 3.0, "eosin_degrees": 3.0, "grey_levels": 4.0}
EXCEEDING = "images over 3° / 4 levels"

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "image": lambda r: r["image"] + ("" if r["found"] in (None, True) else " (no stains found by ours)"),
    "staintools' extraction": lambda r: r["extraction"],
    "hematoxylin": lambda r: _shown(r, "hematoxylin_degrees", "{:.2f}°"),
    "eosin": lambda r: _shown(r, "eosin_degrees", "{:.2f}°"),
    "our objective": lambda r: shown(r["objective"], "{:.6f}"),
    "staintools'": lambda r: shown(r["peer_objective"], "{:.6f}"),
    "grey levels": lambda r: _shown(r, "grey_levels", "{:.2f}"),
}


def _shown(row: dict[str, Any], key: str, form: str) -> str:
    return shown(row[key], "{:.0f}" if row["image"] == EXCEEDING else form)


def compare(target: np.ndarray, images: dict[str, np.ndarray], steps: int | None) -> list[dict[str, Any]]:
    """A row an image, then their mean, largest and how many exceed LIMITS. In a process of its own.

    Args:
      target: uint8 [H, W, 3].
      images: name → uint8 [H, W, 3].
      steps: of staintools' extraction; None: its second.
    """
    ours = VahadaneNormalizer().fit(target)
    peer = staintools_normalizer("vahadane")
    if steps is not None:
        peer.extractor = Steps(steps)
    peer.fit(target.copy())
    extraction = "one second" if steps is None else f"{steps} steps"
    rows = []
    for name, image in images.items():
        rows.append({"image": name, "extraction": extraction, **_differences(ours, peer, image)})
    return rows + _summary(rows, extraction)


def _differences(ours: VahadaneNormalizer, peer: Any, image: np.ndarray) -> dict[str, Any]:
    estimate = ours.estimate(image)
    mine = np.asarray(estimate.style.matrix, np.float64)
    extractor = peer.extractor
    matrix = extractor.get_stain_matrix(image.copy())
    peer.extractor = Known(matrix)  # the same vectors: each extraction of a second finds others
    normalized = peer.transform(image.copy())
    peer.extractor = extractor
    density = _tissue_density(image.copy())
    return {
        "found": estimate.found,
        "hematoxylin_degrees": _degrees(mine[0], matrix[0]),
        "eosin_degrees": _degrees(mine[1], matrix[1]),
        "objective": objective(density, mine),
        "peer_objective": objective(density, matrix),
        "grey_levels": float(np.abs(ours.transform(image).astype(np.float64) - normalized).mean()),
        "matrix": mine.tolist(),
        "peer_matrix": matrix.tolist(),
    }


def objective(density: np.ndarray, matrix: np.ndarray) -> float:
    """Mean over pixels of ½‖x − Sᵀc‖² + 0.1 Σc, with the best c ≥ 0.

    Args:
      density: float64 [N, 3].
      matrix: float64 [2, 3], unit rows.
    """
    import spams

    columns = np.asfortranarray(density.T)
    amounts = spams.lasso(X=columns, D=np.asfortranarray(matrix.T), mode=2, lambda1=0.1, pos=True).toarray()
    residual = columns - matrix.T @ amounts
    return float((0.5 * (residual**2).sum(axis=0) + 0.1 * amounts.sum(axis=0)).mean())


def _tissue_density(image: np.ndarray) -> np.ndarray:
    """float64 [N, 3]: the optical density of the pixels that staintools looks at."""
    from staintools.miscellaneous.optical_density_conversion import convert_RGB_to_OD
    from staintools.tissue_masks.luminosity_threshold_tissue_locator import LuminosityThresholdTissueLocator

    return convert_RGB_to_OD(image)[LuminosityThresholdTissueLocator.get_tissue_mask(image)]


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    """Between unit vectors; exact also where they are almost the same."""
    return math.degrees(2 * math.asin(min(1.0, float(np.linalg.norm(a - b)) / 2)))


def _summary(rows: Sequence[dict[str, Any]], extraction: str) -> list[dict[str, Any]]:
    keys = ("hematoxylin_degrees", "eosin_degrees", "objective", "peer_objective", "grey_levels")
    kinds: dict[str, Callable[[str, list[float]], float | None]] = {
        "mean": lambda key, values: statistics.mean(values),
        "largest": lambda key, values: max(values),
        EXCEEDING: lambda key, values: sum(x > LIMITS[key] for x in values) if key in LIMITS else None,
    }
    return [
        {"image": kind, "extraction": extraction, "found": None}
        | {key: of(key, [row[key] for row in rows]) for key in keys}
        for kind, of in kinds.items()
    ]
