"""Charts with a row an entry: box plots and bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.report.svg import SIZE, Drawing, Scale, around, shown, text_width, wrap

WIDTH = 576.0
"""Of a chart that stands beside another."""

_NAMES_MOST = 190.0  # px, of the names left of the rows
_GAP = 10.0
_TOP, _BOTTOM = 30.0, 42.0
_POINT = 2.8
_SMALL = 10.5


class BoxRow(NamedTuple):
    """One box.

    Attributes:
      name, kind: of the entry.
      values: float64 [images].
      ids: of the images.
    """

    name: str
    kind: str
    values: NDArray[np.float64]
    ids: Sequence[str]


class Quartiles(NamedTuple):
    """Of Tukey's box plot: quartiles, the farthest values within 1.5 box lengths, and those beyond."""

    low: float
    first: float
    median: float
    third: float
    high: float
    outliers: NDArray[np.bool_]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Quartiles:
        first, median, third = np.percentile(values, [25, 50, 75])
        reach = 1.5 * (third - first)
        outliers = (values < first - reach) | (values > third + reach)
        inside = values[~outliers]
        return cls(inside.min(), first, median, third, inside.max(), outliers)


def box_plot(title: str, axis: str, rows: Sequence[BoxRow]) -> str:
    """A box an entry, every image a point, outliers with their names; values in [0, 1]."""
    row_height = 46.0
    left = _names_width([r.name for r in rows])
    drawing = Drawing(WIDTH, _TOP + row_height * len(rows) + _BOTTOM, title)
    values = np.concatenate([r.values for r in rows])
    x = Scale(*around(values.tolist(), floor=0, ceiling=1), left + _GAP, WIDTH - 16)
    _columns(drawing, x, title, axis)
    for i, row in enumerate(rows):
        middle = _TOP + row_height * (i + 0.5)
        drawing.name(left, middle, left - 4, row.name)
        _draw_box(drawing, x, middle, row)
    return drawing.markup()


def _draw_box(drawing: Drawing, x: Scale, middle: float, row: BoxRow) -> None:
    """The box above, the points below, so that neither hides the other."""
    box, half = Quartiles.of(row.values), 6.0
    y, below = middle - 7, middle + 9
    if len(row.values) > 1:
        first, third = x(box.first), x(box.third)
        for inner, outer in ((box.first, box.low), (box.third, box.high)):
            drawing.line((x(inner), y), (x(outer), y), row.kind, width=1.2)
            drawing.line((x(outer), y - 3.5), (x(outer), y + 3.5), row.kind, width=1.2)
        drawing.rect(first, y - half, third - first, 2 * half, row.kind, stroke=row.kind, opacity=0.18)
        drawing.line((x(box.median), y - half), (x(box.median), y + half), row.kind, width=2.5)
    spots = swarm([x(v) for v in row.values], apart=2 * _POINT, most=7)
    for value, id, offset, outlier in zip(row.values, row.ids, spots, box.outliers, strict=True):
        tooltip = f"{id}: {value:.3f}"
        drawing.circle(x(value), below + offset, _POINT, row.kind, opacity=0.75, tooltip=tooltip)
        if outlier:
            drawing.circle(x(value), below + offset, _POINT + 2.2, "", stroke=row.kind)
    _label_outliers(drawing, x, middle, row, box.outliers)


def _label_outliers(
    drawing: Drawing, x: Scale, middle: float, row: BoxRow, outliers: NDArray[np.bool_]
) -> None:
    """Names above the points, where the row has no box; none where others are in the way."""
    ends = {-1.0: -np.inf, -12.0: -np.inf}
    for i in sorted(np.flatnonzero(outliers).tolist(), key=lambda i: row.values[i]):
        name = short_id(row.ids[i])
        width = text_width(name, _SMALL)
        # Away from the box, which has points on the other side.
        spot = x(row.values[i])
        start = spot + 6 - width if row.values[i] < np.median(row.values) else spot - 6
        start = min(max(start, x.start + 2), x.end + 14 - width)
        free = [offset for offset, end in ends.items() if start > end + 4]
        if free:
            drawing.text(start, middle + free[0], name, fill="muted", size=_SMALL, tooltip=row.ids[i])
            ends[free[0]] = start + width


def swarm(places: Sequence[float], *, apart: float, most: float) -> list[float]:
    """Offsets across the row that keep points from hiding each other, as small as can be, at most `most`."""
    step = apart * 0.7
    steps = [0.0, *(sign * k * step for k in range(1, int(most / step) + 1) for sign in (1, -1))]
    offsets = [0.0] * len(places)
    done: list[int] = []
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        near = [j for j in done if places[i] - places[j] < apart]

        def nearest(offset: float, i: int = i, near: list[int] = near) -> float:
            return min((np.hypot(places[i] - places[j], offset - offsets[j]) for j in near), default=np.inf)

        free = [s for s in steps if nearest(s) >= apart]
        offsets[i] = free[0] if free else max(steps, key=nearest)
        done.append(i)
    return offsets


class Bar(NamedTuple):
    """One bar: what it is called, its kind ("" = hollow), its value and how that is written."""

    name: str
    kind: str
    value: float
    label: str


def bars(title: str, axis: str, rows: Sequence[Bar]) -> str:
    """A bar a row, its value at its end."""
    row_height = 30.0
    left = _names_width([r.name for r in rows])
    drawing = Drawing(WIDTH, _TOP + row_height * len(rows) + _BOTTOM, title)
    high = max(r.value for r in rows) or 1.0
    room = max(text_width(r.label) for r in rows) + 12
    x = Scale(0, high, left + _GAP, WIDTH - room)
    _columns(drawing, x, title, axis)
    for i, row in enumerate(rows):
        middle = _TOP + row_height * (i + 0.5)
        drawing.name(left, middle, left - 4, row.name)
        colour = row.kind or "muted"
        opacity = 0.85 if row.kind else 0.12
        drawing.rect(x.start, middle - 8, x(row.value) - x.start, 16, colour, stroke=colour, opacity=opacity)
        drawing.text(x(row.value) + 6, middle + SIZE * 0.35, row.label)
    return drawing.markup()


def short_id(id: str) -> str:
    """TCGA's patient (A1B5 of TCGA-E2-A1B5-01Z-00-DX1 with its hospital, E2), else the id, cut if long."""
    tcga = re.match(r"TCGA-(\w\w-\w{4})\b", id)
    return tcga[1] if tcga else id if len(id) <= 16 else f"{id[:9]}…{id[-6:]}"


def _names_width(names: Sequence[str]) -> float:
    lines = [line for name in names for line in wrap(name, _NAMES_MOST)]
    return max(text_width(line) for line in lines) + 6


def _columns(drawing: Drawing, x: Scale, title: str, axis: str) -> None:
    """The title, and a grid of vertical lines with their values below."""
    bottom = drawing.height - _BOTTOM
    drawing.text(x.start, 18, title, weight=650, size=13)
    for value in x.ticks():
        drawing.line((x(value), _TOP), (x(value), bottom), "grid")
        drawing.text(x(value), bottom + 16, shown(value), fill="muted", anchor="middle")
    drawing.line((x.start, _TOP), (x.start, bottom), "axis")
    drawing.text((x.start + x.end) / 2, drawing.height - 8, axis, fill="muted", anchor="middle")
