"""The sections of a report: each takes the comparison, writes its figures, and gives its HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from nucseg_jax import drawing
from nucseg_jax.data.annotation import annotated_share, shown_share
from nucseg_jax.evaluation.results import Comparison, Entry
from nucseg_jax.report import charts, network_sections, numbers, panels, scatter, tables, theme
from nucseg_jax.report.figures import Figures
from nucseg_jax.report.markup import chart, details, figure, legend, note, paragraph, score, whole

Section = Callable[[Comparison, Figures], str]


def _scores(comparison: Comparison, figures: Figures) -> str:
    meanings = tables.definitions(comparison.min_area_um2)
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>\n" for name, what in meanings.items())
    kinds = dict.fromkeys(e.kind for e in comparison.entries)
    share = annotated_share(comparison.examples)
    partly = f"Scores are of the {shown_share(share)} of all pixels that are annotated." if share < 1 else ""
    return (
        (paragraph(partly) if partly else "")
        + legend([(f"var(--{kind})", theme.KINDS[kind]) for kind in kinds])
        + tables.scores(comparison)
        + details("How the scores are defined", f'<dl class="facts">{terms}</dl>')
        + tables.nuclei(comparison)
        + tables.published(comparison)
    )


def _differences(comparison: Comparison, figures: Figures) -> str:
    return tables.differences(comparison) if len(comparison.entries) > 1 else ""


def _organs(comparison: Comparison, figures: Figures) -> str:
    return tables.by_organ(comparison, "aji", "AJI") + tables.by_organ(comparison, "dice", "F1 (Dice)")


def _boxes(comparison: Comparison, figures: Figures) -> str:
    html = ""
    for key, name in (("dice", "Dice"), ("aji", "AJI")):
        rows = [
            charts.BoxRow(e.name, e.kind, numbers.values(e, key), [i.id for i in e.images])
            for e in comparison.entries
        ]
        svg = charts.box_plot(f"{name} of every image", name, rows)
        caption = (
            f"{name}, a point an image. Box: quartiles and median; whiskers: the farthest points within 1.5 "
            f"box lengths; points beyond are ringed and named. {figures.svg(f'box_{name}', svg)}"
        )
        html += figure(chart(svg), caption)
    return f'<div class="pair">{html}</div>\n'


def _counts(comparison: Comparison, figures: Figures) -> str:
    rows = []
    for e in comparison.entries:
        a = numbers.agreement(e)
        coefficients = {"r": a.pearson, "concordance": a.concordance}
        remark = ", ".join(f"{name} {score(v)}" for name, v in coefficients.items() if v is not None)
        true, found = numbers.values(e, "count_true"), numbers.values(e, "count_pred")
        rows.append(scatter.CountPanel(e.name, e.kind, true, found, [i.id for i in e.images], remark))
    svg = scatter.counts("Counted against true nuclei", rows)
    caption = (
        "Nuclei found against true ones, a point an image; on the dashed line they agree. "
        f"{figures.svg('counts', svg)}"
    )
    return figure(chart(svg, least=760 if len(rows) > 2 else 480), caption) + tables.counts(comparison)


def _networks(comparison: Comparison, figures: Figures) -> str:
    bars, cost = network_sections.parameter_bars(comparison), network_sections.aji_by_gflops(comparison)
    captions = (
        f"Parameters; hollow: the paper’s networks at full width. {figures.svg('parameters', bars)}",
        "AJI, with its 95 % interval, over the cost of a forward pass; hollow: the paper’s own AJI, of its "
        f"own test images. {figures.svg('aji_gflops', cost)}",
    )
    html = "".join(figure(chart(svg), c) for svg, c in zip((bars, cost), captions, strict=True))
    return network_sections.cost_table(comparison) + f'<div class="pair">{html}</div>\n'


def _panels(comparison: Comparison, figures: Figures) -> str:
    colours = [(f"rgb{panels.COLOURS[o]}", word) for o, word in panels.WORDS.items()]
    html = note(
        f"One image an organ, at most the middle {panels.MOST_PX}×{panels.MOST_PX} pixels of it; of several "
        f"the one of median AJI by {escape(numbers.leading(comparison).name)}. Nuclei are judged and scored "
        "on the whole image. Missed nuclei under a prediction, and merged ones, show as outlines."
    ) + legend(colours)
    if annotated_share(comparison.examples) < 1:
        html += note("Nobody annotated what is dimmed or hatched: it counts neither as right nor as wrong.")
    for organ, places in numbers.organs(comparison).items():
        place = numbers.typical(comparison, places)
        tiles = _tiles(comparison, place)
        file = figures.png(f"panel_{organ}", panels.sheet(tiles, legend=True))
        example = comparison.examples[place]
        caption = f"{escape(organ)}, {escape(example.id)}; AJI of the whole image. {file}"
        html += f"<h3>{escape(organ)}</h3>\n" + _tile_figure(tiles, caption)
    return html


def _tiles(comparison: Comparison, place: int) -> list[panels.Tile]:
    """Image, truth and what each entry made of it."""
    example = comparison.examples[place]
    image, truth, unknown = example.scored_image(), example.original_label_map, example.original_unannotated
    part = panels.window(truth.shape)
    nuclei = f"{whole(comparison.entries[0].images[place].scores['count_true'])} nuclei"
    tiles = [
        panels.Tile(panels.enlarged(image[part]), "image", charts.short_id(example.id)),
        panels.Tile(panels.enlarged(panels.outlined(image, truth, unknown)[part]), "truth", nuclei),
    ]
    for entry in comparison.entries:
        drawn = panels.errors(image, truth, entry.images[place].label_map, part, unknown)
        remark = f"AJI {score(entry.images[place].scores['aji'])}"
        tiles.append(panels.Tile(panels.enlarged(drawn), entry.name, remark))
    return tiles


def _tile_figure(tiles: Sequence[panels.Tile], caption: str, css: str = "tiles") -> str:
    html = "".join(
        f'<figure><img src="{panels.data_uri(t.image)}" width="{t.image.shape[1]}" '
        f'height="{t.image.shape[0]}" alt="{escape(t.name)}">'
        f"<figcaption>{escape(t.name)}<br><span>{escape(t.remark)}</span></figcaption></figure>\n"
        for t in tiles
    )
    return figure(f'<div class="{css}">{html}</div>', caption)


def _triptych(comparison: Comparison, figures: Figures) -> str:
    place = numbers.typical(comparison, range(len(comparison.examples)))
    example = comparison.examples[place]
    best: list[Entry | None] = [numbers.best(comparison.entries, "classical")]
    best.append(numbers.best(comparison.entries, "ensemble") or numbers.best(comparison.entries, "network"))
    maps = [("truth", "", example.original_label_map)] + [
        (e.name, f"AJI {score(e.images[place].scores['aji'])}", e.images[place].label_map) for e in best if e
    ]
    tiles = [
        panels.Tile(
            panels.enlarged(panels.shrunk(drawing.hatched(panels.mask(m), example.original_unannotated))),
            name,
            remark,
        )
        for name, remark, m in maps
    ]
    file = figures.png("masks", panels.sheet(tiles, legend=False))
    caption = (
        "Masks of a whole image, as in the paper’s Fig. 12: truth, classical baseline, and ensemble (or best "
        f"network). {escape(example.organ)}, {escape(example.id)}. {file}"
    )
    return _tile_figure(tiles, caption, css="tiles three")


def _curves(comparison: Comparison, figures: Figures) -> str:
    html = ""
    for entry in comparison.entries:
        if not entry.curves:
            continue
        step = entry.facts.get("step")
        svg = scatter.curves(entry.name, entry.curves, step)
        scored = f"; dashed: the scored checkpoint, step {step:,}" if step else ""
        caption = f"Training of {escape(entry.name)}{scored}. {figures.svg(f'curves_{entry.name}', svg)}"
        html += figure(chart(svg, least=860), caption)
    return html


def _appendix(comparison: Comparison, figures: Figures) -> str:
    html = paragraph(
        f"Minimum area of counts and scores without small nuclei: {comparison.min_area_um2:g} µm²."
    )
    return html + network_sections.appendix(comparison)


SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("scores", "Scores", _scores),
    ("differences", "Differences", _differences),
    ("organs", "Organs", _organs),
    ("spread", "Spread over images", _boxes),
    ("counts", "Counts", _counts),
    ("networks", "Networks", _networks),
    ("panels", "Images", _panels),
    ("masks", "Masks", _triptych),
    ("curves", "Training", _curves),
    ("appendix", "Appendix", _appendix),
)
"""Anchor, title and what draws it; a section with nothing to show is left out."""
