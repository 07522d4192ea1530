"""The report's page: its sections in order, and the files beside it."""

from __future__ import annotations

import datetime
import platform
from html import escape
from pathlib import Path

import nucseg_jax
from nucseg_jax.evaluation.results import Comparison
from nucseg_jax.io.files import filled_folder, replacing, replacing_folder
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.report import numbers, theme
from nucseg_jax.report.figures import FIGURES, Figures
from nucseg_jax.report.findings import summary
from nucseg_jax.report.markup import section, whole
from nucseg_jax.report.sections import SECTIONS

PAGE = "report.html"


def write(comparison: Comparison, out: Path) -> Path:
    """Write OUT/report.html, one file that needs no other, and its figures as OUT/figures/*.svg and *.png.

    Both replace older ones when they are complete, or not at all.

    Args:
      comparison: what is reported; at least one entry and one image.
      out: a folder; made where it is missing.

    Returns:
      The path of report.html.

    Raises:
      ValueError: no entry or no image.
      OSError: the folder cannot be written.
    """
    if not comparison.entries or not comparison.examples:
        raise ValueError("a report needs at least one entry and one image")
    page = out / PAGE
    for path in (page, out / FIGURES):
        remove_leftovers(path)
    with filled_folder(out), replacing(page) as file, replacing_folder(out / FIGURES) as folder:
        html = render(comparison, Figures(folder), datetime.datetime.now().astimezone())
        file.write_text(html, encoding="utf-8")
    return page


def render(comparison: Comparison, figures: Figures, now: datetime.datetime) -> str:
    """The whole page; writes the figures."""
    parts = [
        (anchor, title, html) for anchor, title, build in SECTIONS if (html := build(comparison, figures))
    ]
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>\n' for anchor, title, _ in parts)
    body = "".join(section(*part) for part in parts)
    title = f"Nuclei segmentation: {comparison.dataset}, {comparison.split}"
    made = f"nucseg_jax {nucseg_jax.__version__}, Python {platform.python_version()}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{theme.css()}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{_facts(comparison, now)}<p class="lead">{summary(comparison)}</p>
<nav aria-label="Contents">
{links}</nav>
</header>
<main>
{body}</main>
<footer>Made by {escape(made)}.</footer>
</body>
</html>
"""


def _facts(comparison: Comparison, now: datetime.datetime) -> str:
    true = numbers.total(comparison.entries[0].images, "count_true")
    organs = numbers.organs(comparison)
    pairs = {
        "Dataset": f"{escape(comparison.dataset)}, split {escape(comparison.split)}",
        "Images": f"{len(comparison.examples)} ({escape(', '.join(organs))}), {whole(true)} nuclei",
        "Date": escape(f"{now:%Y-%m-%d %H:%M %Z}"),
        "Command": f"<code>{escape(comparison.command)}</code>",
    }
    return '<dl class="facts">' + "".join(f"<dt>{k}</dt><dd>{v}</dd>\n" for k, v in pairs.items()) + "</dl>\n"
