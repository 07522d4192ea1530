"""How large nuclei are: a histogram of their areas as SVG."""

import math

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.report.svg import SIZE, Drawing, Scale, round_step, shown

_WIDTH, _HEIGHT = 440.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 14.0, 26.0, 46.0
_ABOUT_BARS = 24
_NEAR = 0.99  # of the nuclei are within the bars; the others are in the last one


def area_histogram(areas_um2: NDArray[np.float64]) -> str:
    """The histogram.

    Args:
      areas_um2: float64 [N] of nuclei, N ≥ 1, finite.

    Returns:
      The <svg> element; the last bar has all that are larger, too.
    """
    edges, counts = bars(areas_um2)
    drawing = Drawing(_WIDTH, _HEIGHT, "Histogram of the areas of nuclei")
    bottom = _HEIGHT - _BOTTOM
    x = Scale(0, float(edges[-1]), _LEFT, _WIDTH - _RIGHT)
    y = Scale(0, float(counts.max()), bottom, _TOP)
    for value in y.ticks(4):
        if value == round(value):
            drawing.line((_LEFT, y(value)), (x.end, y(value)), "grid")
            drawing.text(_LEFT - 6, y(value) + SIZE * 0.35, shown(value), fill="muted", anchor="end")
    for start, end, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True):
        if count:
            top = y(count)
            drawing.rect(x(start) + 0.5, top, x(end) - x(start) - 1, bottom - top, "network", opacity=0.85)
    for value in x.ticks(6):
        drawing.text(x(value), bottom + 16, shown(value), fill="muted", anchor="middle")
    drawing.line((_LEFT, bottom), (x.end, bottom), "axis")
    _mark_median(drawing, x, float(np.median(areas_um2)))
    drawing.text((_LEFT + x.end) / 2, _HEIGHT - 8, "Area of a nucleus, µm²", fill="muted", anchor="middle")
    drawing.sideways(14, (_TOP + bottom) / 2, "Nuclei")
    return drawing.markup()


def bars(areas_um2: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Edges at round numbers, float64 [B + 1], from 0; counts, int64 [B]."""
    most = max(float(np.quantile(areas_um2, _NEAR)), 1e-3)
    step = round_step(most / _ABOUT_BARS)
    edges = (np.arange(math.ceil(most / step - 1e-9) + 1) * step).astype(np.float64)
    counts, _ = np.histogram(np.clip(areas_um2, 0, edges[-1]), edges)
    return edges, counts.astype(np.int64)


def _mark_median(drawing: Drawing, x: Scale, median: float) -> None:
    place = x(min(median, x.high))
    drawing.line((place, _TOP - 6), (place, _HEIGHT - _BOTTOM), "ink", width=1.2, dash="4 3")
    anchor, offset = ("start", 5) if place < (x.start + x.end) / 2 else ("end", -5)
    drawing.text(place + offset, _TOP - 8, f"median {median:.3g} µm²", anchor=anchor)
