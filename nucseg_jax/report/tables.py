"""The tables of scores: over all images, against each other, by organ, by nucleus, of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from nucseg_jax import metrics
from nucseg_jax.evaluation.results import Comparison, Entry
from nucseg_jax.metrics.outcomes import Outcome
from nucseg_jax.metrics.statistics import paired_difference
from nucseg_jax.report import literature, numbers
from nucseg_jax.report.markup import (
    Cell,
    TableRow,
    breakable,
    head,
    note,
    score,
    signed,
    signed_span,
    significant,
    span,
    table,
    whole,
)

NONE = Cell("–")


def scores(comparison: Comparison) -> str:
    """A row an entry: means over images with their intervals, and the numbers of nuclei."""
    least = f"≥&nbsp;{comparison.min_area_um2:.3g}&nbsp;µm²"
    keys = {
        "aji": "AJI",
        "aji_min_area": f"AJI<br>{least}",
        "aji_plus": "AJI+",
        "pq": "PQ",
        "dq": "DQ",
        "sq": "SQ",
        "dice": "Dice",
        "f1_macro": "macro<br>F1",
    }
    columns = {key: best_bold([numbers.mean(e, key) for e in comparison.entries]) for key in keys}
    rows = []
    for i, entry in enumerate(comparison.entries):
        cells = []
        for key in keys:
            limits = numbers.interval(numbers.values(entry, key))
            cell = columns[key][i]
            bold = f"<b>{cell.html}</b>" if cell.best else cell.html
            cells.append(Cell(bold + (f"<small>{span(limits)}</small>" if limits else "")))
        counts = [numbers.total(entry.images, key) for key in ("count_true", "count_pred", "count_min_area")]
        rows.append(TableRow(head(i + 1, entry), [*cells, *(Cell(whole(n)) for n in counts)]))
    heads = ["entry", *keys.values(), "true<br>nuclei", "found", f"found<br>{least}"]
    images = len(comparison.examples)
    caption = (
        f"Mean over {images} images and below it its bootstrap 95&nbsp;% interval; nuclei of all images "
        "together. The best of each column is bold."
        if images > 1
        else "Scores of one image, which has no interval. The best of each column is bold."
    )
    return table(caption, heads, rows)


def published(comparison: Comparison) -> str:
    """The paper's results and those it cites, with this report's of the same network beside them."""
    rows = [TableRow(f"{literature.PAPER}: its networks at full width, its own test images")]
    for network in literature.NETWORKS:
        if network.aji is None:
            continue
        ours = [e for e in comparison.entries if e.facts.get("model") == network.name]
        results = [None if v is None else f"{v:.4f}" for v in (network.f1, network.aji)]
        rows.append(_published(network.label, results, ours, ""))
    ours = [e for e in comparison.entries if e.kind == "ensemble"]
    results = [None, f"{literature.ENSEMBLE_AJI:.4f}"]
    rows.append(_published(literature.ENSEMBLE, results, ours, "the paper’s ensemble of masks"))
    rows.append(TableRow("What the paper compares itself with"))
    for c in literature.CITED:
        results = [None if v is None else score(v) for v in (c.f1, c.aji)]
        rows.append(_published(c.method, results, [], c.source))
    heads = ["method", "F1", "AJI", "here: F1 / AJI", "remark"]
    caption = (
        "Published numbers, <b>not comparable one to one</b> with ours: other splits (the paper does not "
        "name its test images), other code (the paper’s prints the macro F1 over the pixels of all images, "
        "and chooses checkpoints on the test images)."
    )
    return table(caption, heads, rows, text=(3, 4))


def _published(method: str, results: Sequence[str | None], ours: Sequence[Entry], remark: str) -> TableRow:
    """A row: F1 and AJI, this report's entries to set beside them, a remark."""
    cells = [NONE if r is None else Cell(r) for r in results]
    here = "<br>".join(
        f"{breakable(e.name)}: {score(numbers.mean(e, 'dice'))} / {score(numbers.mean(e, 'aji'))}"
        for e in ours
    )
    return TableRow(
        escape(method), [*cells, Cell(here or "–", css="prose"), Cell(escape(remark), css="prose")]
    )


def differences(comparison: Comparison) -> str:
    """The AJI of each entry (row) minus that of each before it (column), image by image."""
    entries = comparison.entries
    rows = []
    for i, row in enumerate(entries[1:], start=1):
        cells = [_difference(row, column) for column in entries[:i]]
        rows.append(TableRow(head(i + 1, row), [*cells, *[Cell("")] * (len(entries) - 1 - i)]))
    heads = ["row − column", *(_column(i + 1, e) for i, e in enumerate(entries[:-1]))]
    caption = (
        "Paired differences of AJI, row minus column: mean over images, its 95&nbsp;% interval, on how many "
        "images the row was better : worse, and p of the sign-flip test. Bold: the interval leaves zero out, "
        "and p is at most 0.05."
    )
    return table(caption, heads, rows) + note(
        "Nothing is corrected for the number of pairs: among many, some differ by chance."
    )


def _difference(row: Entry, column: Entry) -> Cell:
    a, b = numbers.values(row, "aji"), numbers.values(column, "aji")
    if len(a) < 2:
        return Cell(signed(float((a - b).mean())))
    d = paired_difference(a, b)
    shown = signed(d.mean)
    shown = f"<b>{shown}</b>" if numbers.differs(d) else shown
    ties = f", {d.ties} tied" if d.ties else ""
    return Cell(
        f"{shown}<small>{signed_span((d.low, d.high))}</small>"
        f"<small>{d.wins} : {d.losses}{ties}; p {significant(d.p_value)}</small>"
    )


def _column(number: int, entry: Entry) -> str:
    """A narrow head: the number that the entry has in the rows, and its name."""
    return f'{number}<span class="column">{breakable(entry.name)}</span>'


def by_organ(comparison: Comparison, key: str, name: str) -> str:
    """A row an entry, a column an organ: means of one score."""
    groups = numbers.organs(comparison)
    columns = [
        best_bold([float(numbers.values(e, key)[places].mean()) for e in comparison.entries])
        for places in groups.values()
    ]
    columns.append(best_bold([numbers.mean(e, key) for e in comparison.entries]))
    rows = [
        TableRow(head(i + 1, entry), [column[i] for column in columns])
        for i, entry in enumerate(comparison.entries)
    ]
    heads = ["entry", *(f"{escape(o)}<br>{images(len(p))}" for o, p in groups.items()), "all<br>images"]
    return table(f"{name} by organ: means over its images. The best of each column is bold.", heads, rows)


def nuclei(comparison: Comparison) -> str:
    """What became of the nuclei, and the F1 of those found at rising IoU."""
    entries = comparison.entries
    thresholds = [p for p in metrics.F1_IOU_PERCENT if f"f1_iou_{p}" in entries[0].images[0].scores]
    columns = [best_bold([numbers.mean(e, f"f1_iou_{p}") for e in entries]) for p in thresholds]
    rows = []
    for i, entry in enumerate(entries):
        fates = numbers.fates(comparison, entry)
        cells = [*(Cell(whole(fates[o])) for o in Outcome), *(column[i] for column in columns)]
        rows.append(TableRow(head(i + 1, entry), cells))
    heads = ["entry", *(o.name.lower() for o in Outcome)]
    heads += [f"F1 at<br>IoU&nbsp;{p / 100:g}" for p in thresholds]
    caption = (
        "What became of the true nuclei of all images (right, merged, split or missed: together all of "
        "them), and the false predictions; F1 of nuclei found at an IoU above each threshold, mean over "
        "images."
    )
    return table(caption, heads, rows)


def counts(comparison: Comparison) -> str:
    """Agreement of counted with true nuclei."""
    rows = []
    for i, entry in enumerate(comparison.entries):
        a = numbers.agreement(entry)
        limits = Cell(signed_span(a.limits, 0)) if a.limits else NONE
        coefficients = [NONE if v is None else Cell(score(v)) for v in (a.pearson, a.concordance)]
        error = float(
            np.abs(numbers.values(entry, "count_pred") - numbers.values(entry, "count_true")).mean()
        )
        rows.append(
            TableRow(
                head(i + 1, entry), [*coefficients, Cell(signed(a.bias, 1)), limits, Cell(f"{error:.1f}")]
            )
        )
    heads = [
        "entry",
        "Pearson’s<br>r",
        "Lin’s<br>concordance",
        "mean<br>found − true",
        "limits of<br>agreement",
    ]
    caption = "Counted against true nuclei an image. Limits of agreement: mean ± 1.96 standard deviations."
    return table(caption, [*heads, "mean<br>absolute error"], rows)


def best_bold(column: Sequence[float]) -> list[Cell]:
    """Scores as cells, the highest bold: all that look like it; none where there is nothing to compare."""
    highest = score(max(column))
    return [Cell(score(v), best=len(column) > 1 and score(v) == highest) for v in column]


def images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def definitions(min_area_um2: float) -> Mapping[str, str]:
    """Each score's name and what it is."""
    return {
        "AJI": "Aggregated Jaccard Index of the MoNuSeg challenge (Kumar et al., IEEE TMI 36(7), 2017): "
        "every true nucleus takes the prediction of highest IoU; the sum of intersections over the sum of "
        "unions and of all predictions that nobody took.",
        f"AJI ≥ {min_area_um2:.3g} µm²": f"AJI without predictions of less than {min_area_um2:g} µm².",
        "AJI+": "AJI with the one-to-one assignment of highest total IoU (Graham et al., HoVer-Net, 2019).",
        "PQ, DQ, SQ": "Panoptic quality is detection quality (F1 of nuclei found at IoU > 0.5) times "
        "segmentation quality (mean IoU of those) (Kirillov et al., CVPR 2019).",
        "Dice": "F1 of an image’s nucleus pixels, whichever nucleus they belong to.",
        "macro F1": "Mean of the F1 of nucleus pixels and of background pixels.",
        "F1 at IoU t": "F1 of nuclei found, a pair of IoU > t being one.",
        "Merged, split": "A prediction that covers more than half of each of several true nuclei, and these; "
        "a true nucleus that covers more than half of each of several predictions, and these.",
        "Right": "Any other pair of IoU > 0.5.",
        "Missed, false": "The true nuclei and the predictions that are left.",
        "Empty images": "Nothing to find and nothing found scores 1; one of the two empty scores 0.",
        "95 % interval": "Percentile bootstrap over images: how far the mean depends on which images are in "
        "the split, not on the training’s seed. With few images it is too narrow: with ten it holds the true "
        "mean in some 89 % of cases.",
    }
