"""The summary of a result: one page to print or to send, which needs no other file and runs no script."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

import numpy as np

import nucseg_jax
from nucseg_jax.errors import shown
from nucseg_jax.io.json_files import finite
from nucseg_jax.nuclei import Frame
from nucseg_jax.report import theme
from nucseg_jax.report.markup import Cell, TableRow, figure, significant, table, whole
from nucseg_jax.view.library import ListedResult
from nucseg_jax.view.nuclei.index import NucleiIndex
from nucseg_jax.view.nuclei.index_building import QUANTILES
from nucseg_jax.view.results.facts import model_of, notes_of, number_of, text_of, value_of
from nucseg_jax.view.summary.area_histogram import area_histogram
from nucseg_jax.view.summary.measurement_words import MEASUREMENTS
from nucseg_jax.view.summary.pictures import Density, Pictures

RESEARCH_ONLY = "For research use only. Not for diagnosis."

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """\
@page{size:A4;margin:13mm}
main,header,footer{max-width:920px}
header{padding-top:28px}
h1{font-size:26px;overflow-wrap:anywhere}
h2{font-size:17px;margin:26px 0 8px;padding-top:10px}
.research{font-weight:650}
.numbers{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:18px 0}
.numbers div{background:var(--card);border:1px solid var(--grid);border-radius:8px;padding:10px 14px}
.numbers b{display:block;font-size:25px;line-height:1.25;font-weight:650}
.numbers span{color:var(--muted);font-size:13px;line-height:1.3;display:block}
.pictures,.last{display:grid;grid-template-columns:1fr 1fr;gap:0 18px;align-items:start}
.pictures figure,.last figure{margin:8px 0;min-width:0}
.pictures img{display:block;max-width:100%;max-height:430px;border:1px solid var(--grid);background:#fff}
figcaption{font-size:13px}
figure.table>figcaption::before{content:none}
table{font-size:13px}
tbody th{min-width:0}
th,td{padding:4px 8px}
tbody th{max-width:none}
tbody th small{color:var(--muted);font-weight:400;font-size:12px;margin-left:8px}
figure.table{margin:8px 0}
.scale{display:flex;align-items:center;gap:8px;margin-top:6px}
.scale i{flex:0 1 160px;height:10px;border:1px solid var(--axis);
  print-color-adjust:exact;-webkit-print-color-adjust:exact}
ul.notes{margin:6px 0;padding-left:20px;font-size:14px;overflow-wrap:anywhere}
dl.facts{margin:8px 0;font-size:14px;gap:5px 14px}
footer{margin-top:26px;border-top:1px solid var(--grid)}
@media (max-width:700px){
  .numbers{grid-template-columns:1fr 1fr}
  .pictures,.last{grid-template-columns:1fr}
}
@media print{
  header{padding-top:0}
  h1{font-size:15pt}
  h2{font-size:10.5pt;margin:7pt 0 2pt;padding-top:4pt}
  header p{margin:2pt 0;font-size:9pt}
  .numbers{margin:6pt 0;gap:6pt}
  .numbers div{padding:4pt 8pt}
  .numbers b{font-size:14pt}
  .numbers span,figcaption{font-size:8pt}
  .pictures img{max-height:64mm}
  .last svg{max-height:46mm}
  table{font-size:8pt}
  .pictures figure,.last figure,figure.table{margin:4pt 0}
  dl.facts,ul.notes{font-size:8.5pt}
  .last,.pictures{break-inside:avoid}
  th,td{padding:1pt 4pt}
  tbody th small{font-size:7.5pt}
  footer{margin-top:6pt;padding:4pt 0 0;font-size:8pt}
}
"""


class Corrected(NamedTuple):
    """How many nuclei a user has removed and drawn."""

    removed: int
    drawn: int


def page(
    result: ListedResult,
    index: NucleiIndex,
    frame: Frame,
    seen: Pictures,
    *,
    slide: str,
    corrected: Corrected,
    now: datetime,
) -> str:
    """The page, in HTML.

    Args:
      result, index, frame: of the nuclei.
      seen: pictures.
      slide: its name.
      corrected: what the numbers do not contain.
      now: with a time zone.
    """
    last = _section("Areas of the nuclei", _areas(index)) + _section("How it was made", _facts(result, frame))
    body = (
        _numbers(result, index)
        + _pictures(seen)
        + _section("Measurements", _measurements(index))
        + _section("Regions", _regions(result))
        + _section("Notes", _notes(result, corrected))
        + f'<div class="last">\n{last}</div>\n'
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(slide)}: nuclei</title>
<style>
{theme.css()}{_CSS}</style>
</head>
<body>
<header>
<h1>{escape(slide)}</h1>
<p class="muted">Nuclei in H&amp;E tissue, found by software on {escape(_day(result))}</p>
<p class="research">{RESEARCH_ONLY}</p>
</header>
<main>
{body}</main>
<footer>Made by nucseg_jax {escape(nucseg_jax.__version__)} on {_date(now)}. {RESEARCH_ONLY}</footer>
</body>
</html>
"""


def _section(title: str, html: str) -> str:
    """A part of the page; nothing where it is empty."""
    return f"<section><h2>{escape(title)}</h2>\n{html}</section>\n" if html else ""


def _numbers(result: ListedResult, index: NucleiIndex) -> str:
    area, density = number_of(result, "nuclei", "area_mm2"), number_of(result, "nuclei", "per_mm2")
    ranges = index.about.ranges.get("area_um2")
    tiles = [
        (whole(index.about.nuclei), "nuclei"),
        (_or_unknown(area, "mm²"), "of tissue were analysed"),
        (_or_unknown(density, ""), "nuclei per mm² of this tissue"),
        (_or_unknown(ranges[QUANTILES.index(0.5)] if ranges else None, "µm²"), "median area of a nucleus"),
    ]
    inside = "".join(f"<div><b>{value}</b><span>{words}</span></div>\n" for value, words in tiles)
    return f'<div class="numbers">\n{inside}</div>\n'


def _or_unknown(value: float | None, unit: str) -> str:
    if value is None:
        return "not known"
    return f"{significant(value)}&nbsp;<small>{unit}</small>" if unit else significant(value)


def _pictures(seen: Pictures) -> str:
    figures = []
    if seen.slide is not None:
        figures.append(figure(f'<img src="{seen.slide}" alt="The slide">', "The slide", numbered=False))
    if seen.overlay is not None:
        caption = "The nuclei that were found, in cyan"
        image = f'<img src="{seen.overlay}" alt="The nuclei on the slide">'
        figures.append(figure(image, caption, numbered=False))
    if seen.density is not None:
        image = f'<img src="{seen.density.uri}" alt="Density map">'
        figures.append(figure(image, _legend(seen.density), numbered=False))
    return f'<div class="pictures">\n{"".join(figures)}</div>\n' if figures else ""


def _legend(density: Density) -> str:
    colours = ",".join(f"rgb{colour}" for colour in density.colours)
    return (
        f"Nuclei per mm² of tissue, in squares of {density.cell_um:g} µm, smoothed; white: no tissue"
        f'<span class="scale">0 <i style="background:linear-gradient(90deg,{colours})"></i> '
        f"{whole(density.top_per_mm2)} per mm²</span>"
    )


def _measurements(index: NucleiIndex) -> str:
    ranges = index.about.ranges
    rows = [
        TableRow(
            _named(words.name, words.hint), [Cell(words.unit, css="text"), *_spread_cells(ranges[column])]
        )
        for column, words in MEASUREMENTS.items()
        if ranges.get(column)
    ]
    if not rows:
        return ""
    columns = ["Measurement", "Unit", "Median", "Middle half", "1&nbsp;% to 99&nbsp;%"]
    caption = "Of all nuclei in which it was measured. OD: optical density, natural logarithm"
    return table(caption, columns, rows, text=[1])


def _areas(index: NucleiIndex) -> str:
    if not index.about.ranges.get("area_um2"):
        return ""
    areas = index.column("area_um2")
    words = "The last bar has all nuclei that are larger, too"
    return figure(area_histogram(areas[np.isfinite(areas)]), words, numbered=False)


def _named(name: str, hint: str) -> str:
    return escape(name) + (f"<small>{escape(hint)}</small>" if hint else "")


def _spread_cells(quantiles: Sequence[float]) -> list[Cell]:
    """The median, the middle half, and almost all."""
    low, first, median, third, high = (
        significant(quantiles[QUANTILES.index(part)]) for part in (0.01, 0.25, 0.5, 0.75, 0.99)
    )
    return [Cell(f"<b>{median}</b>"), Cell(f"{first} to {third}"), Cell(f"{low} to {high}")]


def _regions(result: ListedResult) -> str:
    regions = value_of(result, "regions")
    if not isinstance(regions, dict) or not regions:
        return ""
    keys = ("count", "area_mm2", "tissue_mm2", "per_mm2")
    rows = []
    for name, found in regions.items():
        values = [finite(found.get(key)) if isinstance(found, dict) else None for key in keys]
        shapes = [whole, significant, significant, significant]
        cells = ["–" if v is None else shape(v) for v, shape in zip(values, shapes, strict=True)]
        rows.append(TableRow(escape(shown(name)), [Cell(cell) for cell in cells]))
    columns = ["Region", "Nuclei", "Area, mm²", "Tissue in it, mm²", "Nuclei per mm² of tissue"]
    return table("A nucleus in several regions counts in each", columns, rows)


def _notes(result: ListedResult, corrected: Corrected) -> str:
    notes = notes_of(result)
    if corrected.removed or corrected.drawn:
        notes.append(
            "Nuclei have been corrected by hand since they were found, which this page does not contain: "
            f"{corrected.removed:,} removed or replaced, {corrected.drawn:,} drawn"
        )
    if result.missing:  # whose text has a path, which is nobody's business to whom this page is sent
        notes.append("No picture of the slide: its file was not to be had when this page was made")
    if not notes:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>\n'


def _facts(result: ListedResult, frame: Frame) -> str:
    height, width = frame.size
    source = text_of(result, "config", "resolution", "slide")
    resolution = f"{frame.mpp:.4g} µm a pixel" + (f" (from: {source})" if source else "")
    software = text_of(result, "versions", "nucseg_jax")
    pairs = {
        "Size": f"{width:,} × {height:,} pixels, {_mm(width, frame)} × {_mm(height, frame)} mm",
        "Resolution": resolution,
        "Model": f"{model_of(result) or 'not known'}, which saw {frame.network_mpp:.4g} µm a pixel",
        "Found on": f"{_day(result)}, by nucseg_jax {software or 'of an unknown release'}",
        "Result": result.name,
    }
    return _list(pairs.items())


def _list(pairs: Iterable[tuple[str, str]]) -> str:
    inside = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in pairs)
    return f'<dl class="facts">\n{inside}</dl>\n'


def _mm(pixels: int, frame: Frame) -> str:
    return significant(pixels * frame.mpp / 1000)


def _day(result: ListedResult) -> str:
    """When the nuclei were found."""
    created = text_of(result, "created")
    try:
        return _date(datetime.fromisoformat(created or ""))
    except ValueError:
        return "a day that is not known"


def _date(moment: datetime) -> str:
    """Such as 30 November 2026, 20:55 UTC: the same for all readers, wherever they are."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
