"""Drawing in SVG: shapes in the theme's colours, text that fits, scales with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape

from PIL import ImageFont

from nucseg_jax.report.theme import LIGHT

SIZE = 12.0
"""Of text, in pixels."""

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
# The font that measures is not the reader's: fonts of interfaces are up to this much wider.
_WIDER = 1.22


class Drawing:
    """A picture of `width` × `height` pixels; colours are names of `theme.COLOURS`.

    Each shape has its light colour as an attribute, which every program understands, and a class, by which
    the page gives it the dark one.
    """

    def __init__(self, width: float, height: float, title: str):
        self.width, self.height, self.title = width, height, title
        self._parts: list[str] = []
        self.rect(0, 0, width, height, fill="paper")

    def markup(self) -> str:
        """The whole <svg> element."""
        size = f'width="{_number(self.width)}" height="{_number(self.height)}"'
        box = f"0 0 {_number(self.width)} {_number(self.height)}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="{box}" role="img" '
            f'aria-label="{escape(self.title)}" font-family="{_FONT}">\n'
            + "\n".join(self._parts)
            + "\n</svg>"
        )

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        stroke: str = "",
        opacity: float = 1,
    ) -> None:
        """A box from its top left corner; `opacity` is the filling's."""
        place = {"x": x, "y": y, "width": width, "height": height, "fill-opacity": opacity}
        self._shape("rect", place, fill, stroke)

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        stroke: str,
        *,
        width: float = 1,
        dash: str = "",
    ) -> None:
        """A straight line from (x, y) to (x, y)."""
        place = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1], "stroke-width": width}
        self._shape("line", place, "", stroke, dash=dash)

    def polyline(self, points: Iterable[tuple[float, float]], stroke: str, *, width: float = 1.5) -> None:
        """A line through all the points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        more = f' points="{joined}" stroke-linejoin="round"'
        self._shape("polyline", {"stroke-width": width}, "", stroke, more=more)

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: str,
        *,
        stroke: str = "",
        opacity: float = 1,
        tooltip: str = "",
    ) -> None:
        """A disc; `tooltip` appears where the pointer rests on it."""
        place = {"cx": x, "cy": y, "r": radius, "fill-opacity": opacity}
        self._shape(
            "circle", place, fill, stroke, inside=f"<title>{escape(tooltip)}</title>" if tooltip else ""
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        fill: str = "ink",
        anchor: str = "start",
        size: float = SIZE,
        weight: int = 400,
        tooltip: str = "",
    ) -> None:
        """A line of text on the baseline `y`; `anchor` is start, middle or end."""
        more = f' text-anchor="{anchor}" font-weight="{weight}"'
        title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
        self._shape(
            "text", {"x": x, "y": y, "font-size": size}, fill, "", more=more, inside=escape(text) + title
        )

    def sideways(self, x: float, y: float, text: str) -> None:
        """Text that reads upwards, centred on (x, y): the name of a vertical axis."""
        more = f' text-anchor="middle" transform="rotate(-90 {_number(x)} {_number(y)})"'
        self._shape("text", {"x": x, "y": y, "font-size": SIZE}, "muted", "", more=more, inside=escape(text))

    def name(self, right: float, middle: float, width: float, name: str) -> None:
        """An entry's name in up to three lines that end at `right`, around `middle`."""
        lines = wrap(name, width)
        for i, line in enumerate(lines):
            y = middle + SIZE * 0.35 + (i - (len(lines) - 1) / 2) * (SIZE + 1.5)
            self.text(right, y, line, anchor="end", tooltip=name if " ".join(lines) != name else "")

    def _shape(
        self,
        tag: str,
        numbers: dict[str, float],
        fill: str,
        stroke: str,
        *,
        dash: str = "",
        more: str = "",
        inside: str = "",
    ) -> None:
        attributes = "".join(
            f' {key}="{_number(value)}"'
            for key, value in numbers.items()
            if not (value == 1 and key in ("fill-opacity", "stroke-width"))
        )
        classes = " ".join(f"{use}-{name}" for use, name in (("fill", fill), ("stroke", stroke)) if name)
        attributes += f' class="{classes}" fill="{LIGHT[fill] if fill else "none"}"'
        attributes += f' stroke="{LIGHT[stroke]}"' if stroke else ""
        attributes += f' stroke-dasharray="{dash}"' if dash else ""
        end = f">{inside}</{tag}>" if inside else "/>"
        self._parts.append(f"<{tag}{attributes}{more}{end}")


@dataclass(frozen=True)
class Scale:
    """Values → pixels, linear or logarithmic.

    Attributes:
      low, high: the values at the ends, low < high; above 0 if `log`.
      start, end: their pixels.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        part = (self._of(value) - self._of(self.low)) / (self._of(self.high) - self._of(self.low))
        return self.start + part * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale: some `about` of them, or 1, 2, 5, 10, … if logarithmic."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            each = (1, 2, 5) if self.high / self.low < 1000 else (1,)
            return [m * 10.0**p for p in powers for m in each if self.low <= m * 10.0**p <= self.high]
        step = round_step((self.high - self.low) / about)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value


def round_step(least: float) -> float:
    """The least of …, 1, 2, 5, 10, 20, … that is no smaller than `least` > 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def around(
    values: Sequence[float], *, floor: float | None = None, ceiling: float | None = None
) -> tuple[float, float]:
    """Round limits that leave room around the values, and stay within `floor` and `ceiling`."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    step = round_step(spread / 5)
    low = math.floor((low - 0.05 * spread) / step) * step
    high = math.ceil((high + 0.05 * spread) / step) * step
    low = low if floor is None else max(low, floor)
    high = high if ceiling is None else min(high, ceiling)
    return (low, high) if low < high else (low - step, low)


def shown(value: float) -> str:
    """A tick's value: no more digits than it has."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.10g}" if abs(value) >= 1000 else f"{value:.6g}"


def text_width(text: str, size: float = SIZE) -> float:
    """Pixels that a line of text takes at most."""
    return _font().getlength(text) * size / 100 * _WIDER


def shorten(text: str, width: float, size: float = SIZE) -> str:
    """The text without its middle where it is wider than `width`: names of one family differ at the end."""
    shown = text
    for kept in range(len(text) - 1, 0, -1):
        if text_width(shown, size) <= width:
            break
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shown


def wrap(text: str, width: float, most: int = 3) -> list[str]:
    """Lines that break at spaces, at most `most`; those that are too wide even so are shortened."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}".strip()
        if text_width(joined) <= width or not lines[-1] or len(lines) == most:
            lines[-1] = joined
        else:
            lines.append(word)
    return [shorten(line, width) for line in lines]


@cache
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=100)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
