"""Pieces of HTML. Strings named `html` are markup; whatever else goes in is escaped here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from nucseg_jax.evaluation.results import Entry
from nucseg_jax.report.theme import KINDS


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
      html: what is in it.
      best: it is the best of its column, and bold.
      css: classes: "text" for words.
    """

    html: str
    best: bool = False
    css: str = ""


class TableRow(NamedTuple):
    """A row of a table: its head and its cells. Without cells it is the title of the rows below."""

    head: str
    cells: Sequence[Cell] = ()


def table(caption: str, columns: Sequence[str], rows: Sequence[TableRow], *, text: Sequence[int] = ()) -> str:
    """A table that scrolls sideways where it is wider than the page.

    Args:
      caption: HTML.
      columns: HTML of the heads, the first above the rows' heads.
      rows: its rows.
      text: columns of words rather than of numbers.
    """
    heads = "".join(
        f'<th scope="col"{_css("text" if i == 0 or i in text else "")}>{c}</th>'
        for i, c in enumerate(columns)
    )
    body = "\n".join(_row(row, len(columns)) for row in rows)
    narrow = _css("narrow" if len(columns) <= 4 else "")
    return (
        f'<figure class="table"><figcaption>{caption}</figcaption><div class="scroll"><table{narrow}>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></figure>\n"
    )


def _row(row: TableRow, columns: int) -> str:
    if not row.cells:
        return f'<tr class="group"><th scope="colgroup" colspan="{columns}">{row.head}</th></tr>'
    cells = "".join(
        f"<td{_css('best' if c.best else c.css)}>{f'<b>{c.html}</b>' if c.best else c.html}</td>"
        for c in row.cells
    )
    return f'<tr><th scope="row">{row.head}</th>{cells}</tr>'


def _css(classes: str) -> str:
    return f' class="{classes}"' if classes else ""


def figure(html: str, caption: str, *, numbered: bool = True, css: str = "") -> str:
    """A figure and its caption (HTML)."""
    classes = " ".join(c for c in ("numbered" if numbered else "", css) if c)
    return f"<figure{_css(classes)}>{html}\n<figcaption>{caption}</figcaption></figure>\n"


def chart(svg: str, *, least: int = 480) -> str:
    """A chart that scrolls sideways on a screen where it would become narrower than `least` pixels."""
    return f'<div class="chart" style="--least:{least}px">{svg}</div>'


def details(summary: str, html: str) -> str:
    """Something that is folded until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{html}\n</details>\n"


def section(anchor: str, title: str, html: str) -> str:
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{html}</section>\n'


def paragraph(html: str, css: str = "") -> str:
    return f"<p{_css(css)}>{html}</p>\n"


def note(html: str) -> str:
    return paragraph(html, "note muted")


def head(number: int, entry: Entry) -> str:
    """An entry's number, the colour of its kind and its name."""
    style = f'style="background:var(--{entry.kind})" title="{KINDS[entry.kind]}"'
    mark = f'<span class="number">{number}</span><span class="dot" {style}></span>'
    return f'<span class="entry">{mark}<span>{breakable(entry.name)}</span></span>'


def breakable(name: str) -> str:
    """A name, escaped; long and without spaces as it may be, it can break after these letters."""
    return re.sub(r"([_,/])(?=\w)", r"\1<wbr>", escape(name))


def legend(pairs: Sequence[tuple[str, str]]) -> str:
    """Colours (CSS) and what they mean."""
    items = "".join(f'<li><i style="background:{colour}"></i>{escape(word)}</li>' for colour, word in pairs)
    return f'<ul class="legend">{items}</ul>\n'


def score(value: float) -> str:
    """A score in [0, 1]."""
    return f"{value:.3f}"


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign; nothing that rounds to 0 has one."""
    shown = f"{abs(value):.{digits}f}"
    if float(shown) == 0:
        return shown
    return f"{'+' if value > 0 else '−'}{shown}"


def whole(value: float) -> str:
    """A count, in thousands."""
    return f"{value:,.0f}"


def significant(value: float) -> str:
    """A number with three digits that count: 0.0123, 1.23, 12.3, 1,234."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def span(limits: tuple[float, float]) -> str:
    """An interval of scores."""
    return f"{score(limits[0])}–{score(limits[1])}"


def signed_span(limits: tuple[float, float], digits: int = 3) -> str:
    """An interval of differences."""
    return f"{signed(limits[0], digits)} to {signed(limits[1], digits)}"
