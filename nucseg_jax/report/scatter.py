"""Charts of one number against another: counts against truth, scores against cost, curves of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nucseg_jax.report.charts import WIDTH
from nucseg_jax.report.numbers import Floats
from nucseg_jax.report.svg import SIZE, Drawing, Scale, around, shorten, shown, text_width

FULL_WIDTH = 1152.0
"""Of a chart that stands alone."""

_MOST_POINTS = 400  # of a curve; more are averaged
_MOST_DOTS = 60  # on a curve


class CountPanel(NamedTuple):
    """The counts of one entry.

    Attributes:
      name, kind: of the entry.
      true, found: float64 [images].
      ids: of the images.
      remark: a line below the name.
    """

    name: str
    kind: str
    true: Floats
    found: Floats
    ids: Sequence[str]
    remark: str


def counts(title: str, panels: Sequence[CountPanel]) -> str:
    """A panel an entry, on the same axes: found over true nuclei, a point an image, and where they agree."""
    columns = min(4, len(panels))
    width = FULL_WIDTH / 4
    height = width + 40
    drawing = Drawing(width * columns, height * math.ceil(len(panels) / columns), title)
    most = max(max(p.true.max(), p.found.max()) for p in panels)
    limit = around([0.0, max(float(most), 10.0)], floor=0)[1]
    for i, panel in enumerate(panels):
        left, top = width * (i % columns), height * (i // columns)
        x = Scale(0, limit, left + 54, left + width - 24)
        y = Scale(0, limit, top + height - 44, top + 46)
        drawing.text(x.start, top + 18, shorten(panel.name, x.end - x.start + 20, 14), weight=650, size=13)
        if panel.remark:
            drawing.text(x.start, top + 35, panel.remark, fill="muted", size=11.5)
        _grid(drawing, x, y, "true nuclei", "found" if i % columns == 0 else "", about=4)
        drawing.line((x.start, y.start), (x.end, y.end), "axis", dash="5 4", width=1.2)
        for true, found, id in zip(panel.true, panel.found, panel.ids, strict=True):
            tooltip = f"{id}: {found:.0f} found, {true:.0f} true"
            drawing.circle(x(true), y(found), 4.2, panel.kind, stroke="paper", opacity=0.85, tooltip=tooltip)
    return drawing.markup()


class CostPoint(NamedTuple):
    """A network: its cost (> 0), its score and the score's interval; kind "" = hollow, of the literature."""

    name: str
    kind: str
    cost: float
    score: float
    interval: tuple[float, float] | None


def score_by_cost(title: str, x_axis: str, y_axis: str, points: Sequence[CostPoint]) -> str:
    """Scores over cost, the latter logarithmic; every point with its name."""
    drawing = Drawing(WIDTH, 400, title)
    low, high = min(p.cost for p in points), max(p.cost for p in points)
    x = Scale(low / 1.6, high * 2.2, 60, WIDTH - 16, log=True)
    ends = [v for p in points for v in (p.score, *(p.interval or ()))]
    y = Scale(*around(ends, floor=0, ceiling=1), drawing.height - 46, 32)
    drawing.text(x.start, 18, title, weight=650, size=13)
    _grid(drawing, x, y, x_axis, y_axis)
    if any(not p.kind for p in points):
        drawing.circle(x.end - 178, 14, 5, "paper", stroke="muted")
        drawing.text(x.end - 168, 18, "the paper’s, its own images", fill="muted")
    for p in points:
        if p.interval:
            drawing.line((x(p.cost), y(p.interval[0])), (x(p.cost), y(p.interval[1])), p.kind, width=1.2)
    spots = [(x(p.cost), y(p.score)) for p in points]
    taken = [(px - 9, py - 9, px + 9, py + 9) for px, py in spots]
    # Names may cross the lines of intervals more readily than points.
    taken += [
        (x(p.cost) - 1, y(p.interval[1]), x(p.cost) + 1, y(p.interval[0])) for p in points if p.interval
    ]
    for p, spot in zip(points, spots, strict=True):
        tooltip = f"{p.name}: {p.score:.3f}, {p.cost:.0f} GFLOPs"
        stroke = "paper" if p.kind else "muted"
        drawing.circle(*spot, 5, p.kind or "paper", stroke=stroke, tooltip=tooltip)
    names = [shorten(p.name, 170) for p in points]
    for (left, base), name, p in zip(_place(spots, names, taken, x, y), names, points, strict=True):
        drawing.text(left, base, name, fill="ink" if p.kind else "muted", tooltip=p.name)
    return drawing.markup()


_Box = tuple[float, float, float, float]


def _place(
    spots: Sequence[tuple[float, float]], names: Sequence[str], taken: list[_Box], x: Scale, y: Scale
) -> list[tuple[float, float]]:
    """Where each name starts (left, baseline): beside its point, where it hides the least."""
    taken = list(taken)
    places: dict[int, tuple[float, float]] = {}
    for i in sorted(range(len(names)), key=lambda i: -len(names[i])):
        (px, py), width = spots[i], text_width(names[i])
        beside = [(px + 9, 0.0), (px - 9 - width, 0.0), (px - width / 2, -14.0), (px - width / 2, 16.0)]
        beside += [(left, rise) for rise in (-13.0, 13.0, -24.0, 24.0) for left in (px + 5, px - 5 - width)]

        def cost(place: tuple[float, float], px: float = px, py: float = py, width: float = width) -> float:
            left, rise = place
            box = (left, py + rise - 8, left + width, py + rise + 8)
            outside = max(0, x.start + 2 - box[0]) + max(0, box[2] - x.end) + max(0, box[3] - y.start)
            # A name between two points could be either's.
            near = sum(_apart(box, other) < 16 for other in spots if other != (px, py))
            return sum(_shared(box, other) for other in taken) + 100 * outside + abs(rise) + 300 * near

        left, rise = min(beside, key=cost)
        places[i] = (left, py + rise + SIZE * 0.35)
        taken.append((left, py + rise - 8, left + width, py + rise + 8))
    return [places[i] for i in range(len(names))]


def _apart(box: _Box, spot: tuple[float, float]) -> float:
    """Distance from a box to a point."""
    x = max(box[0] - spot[0], 0, spot[0] - box[2])
    return math.hypot(x, max(box[1] - spot[1], 0, spot[1] - box[3]))


def _shared(a: _Box, b: _Box) -> float:
    """Area that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def curves(title: str, records: Sequence[Mapping[str, float]], step: int | None) -> str:
    """Loss, learning rate, validation AJI and Dice of a training over its steps, a panel each.

    Args:
      title: the network's name.
      records: of metrics.jsonl; panels without a record are left out.
      step: of the checkpoint that was scored, drawn as a line; None: not known.
    """
    scores = {"validation_aji": "validation AJI", "validation_dice": "validation Dice"}
    kinds = {"loss": "loss", "learning_rate": "learning rate", **scores}
    series = {name: _series(records, key) for key, name in kinds.items()}
    series = {name: points for name, points in series.items() if points}
    last = max([points[-1][0] for points in series.values()] + [step or 0])
    width, height = FULL_WIDTH / max(3, len(series)), 220.0
    drawing = Drawing(FULL_WIDTH, height, f"Training of {title}")
    for i, (name, points) in enumerate(series.items()):
        x = Scale(0, last or 1, width * i + 62, width * (i + 1) - 24)
        floor = None if name in scores.values() else 0.0
        limits = around([v for _, v in points] + ([] if floor is None else [floor]), floor=floor)
        y = Scale(*limits, height - 44, 30)
        drawing.text(x.start, 18, name, weight=650, size=13)
        _grid(drawing, x, y, "step", "", about=4)
        if step:
            drawing.line((x(step), y.start), (x(step), y.end), "muted", dash="3 3", width=1.2)
        drawing.polyline([(x(s), y(v)) for s, v in _averaged(points)], "network")
        if name in scores.values() and len(points) <= _MOST_DOTS:
            for s, v in points:
                tooltip = f"step {s:.0f}: {v:.4f}"
                drawing.circle(x(s), y(v), 3.6, "network", stroke="paper", tooltip=tooltip)
    return drawing.markup()


def _series(records: Sequence[Mapping[str, float]], key: str) -> list[tuple[float, float]]:
    return [(r["step"], r[key]) for r in records if key in r and math.isfinite(r[key])]


def _averaged(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most _MOST_POINTS points: means of as many runs of neighbours."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    parts = np.array_split(np.array(points), _MOST_POINTS)
    return [(float(step), float(value)) for step, value in (part.mean(axis=0) for part in parts)]


def _grid(drawing: Drawing, x: Scale, y: Scale, x_axis: str, y_axis: str, *, about: int = 5) -> None:
    """Lines at round values, with the values and the names of the axes."""
    for value in x.ticks(about):
        drawing.line((x(value), y.start), (x(value), y.end), "grid")
        drawing.text(x(value), y.start + 16, shown(value), fill="muted", anchor="middle", size=11.5)
    for value in y.ticks(about):
        drawing.line((x.start, y(value)), (x.end, y(value)), "grid")
        drawing.text(x.start - 7, y(value) + 4, shown(value), fill="muted", anchor="end", size=11.5)
    drawing.line((x.start, y.start), (x.end, y.start), "axis")
    drawing.line((x.start, y.start), (x.start, y.end), "axis")
    drawing.text((x.start + x.end) / 2, y.start + 34, x_axis, fill="muted", anchor="middle")
    if y_axis:
        drawing.sideways(x.start - 42, (y.start + y.end) / 2, y_axis)
