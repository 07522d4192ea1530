"""What `fine_tuning` found: a table with paired intervals, and a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.io.files import replacing
from nucseg_jax.metrics.statistics import bootstrap_interval

Rows = Sequence[dict[str, Any]]

KINDS = {
    ("base", "random"): ("fine-tuned", "#3b6fb6", "o-"),
    ("base", "suggested"): ("fine-tuned, regions suggested", "#2e8b57", "s--"),
    ("scratch", "random"): ("from scratch", "#c2571a", "^-"),
}
"""(start, chosen) of rows → name, colour, line."""


def values(
    rows: Rows, organ: str | None, regions: int, kind: tuple[str, str], score: str = "aji"
) -> NDArray[Any]:
    """Scores of a kind of training, a value an image: the mean over the seeds that score it.

    Images are what differs by chance: one image's scores with other seeds are no further images.
    """
    start, chosen = ("base", "random") if regions == 0 else kind
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["regions"] == regions and (row["start"], row["chosen"]) == (start, chosen):
            if organ in (None, row["organ"]):
                found.setdefault((row["organ"], row["id"]), []).append(row[score])
    return np.array([np.mean(found[key]) for key in sorted(found)])


def table(rows: Rows) -> str:
    """Means of AJI, and paired differences from the base, with 95 % intervals over images, as Markdown."""
    organs = list(dict.fromkeys(row["organ"] for row in rows))
    counts = sorted({row["regions"] for row in rows} - {0})
    heads = [f"{n} region{'s' if n > 1 else ''}" for n in counts]
    lines = [f"| organ | training | as it is | {' | '.join(heads)} |"]
    lines.append("|---|---|---:|" + "---:|" * len(counts))
    for organ in [*organs, None]:
        base = values(rows, organ, 0, ("base", "random"))
        for kind, (name, *_) in KINDS.items():
            cells = [_cell(values(rows, organ, count, kind), base) for count in counts]
            if any(cells):
                start = f"{base.mean():.3f}" if kind[0] == "base" else ""
                lines.append(f"| {organ or '**all**'} | {name} | {start} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: NDArray[Any], base: NDArray[Any]) -> str:
    if len(found) != len(base) or not len(found):
        return ""
    low, high = bootstrap_interval(found - base)
    return f"{found.mean():.3f} ({(found - base).mean():+.3f}; {low:+.3f} to {high:+.3f})"


def draw(rows: Rows, path: Path) -> None:
    """A panel an organ: mean AJI over regions, with 95 % intervals over images."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "nucseg", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    organs = list(dict.fromkeys(row["organ"] for row in rows))
    counts = sorted({row["regions"] for row in rows})
    figure, panels = pyplot.subplots(
        1, len(organs), figsize=(3.2 * len(organs), 3), sharey=True, squeeze=False
    )
    for panel, organ in zip(panels[0], organs, strict=True):
        for shift, (kind, (name, colour, line)) in enumerate(KINDS.items()):
            found = {n: values(rows, organ, n, kind) for n in counts if n > 0 or kind[0] == "base"}
            found = {n: of for n, of in found.items() if len(of)}
            if not set(found) - {0}:
                continue
            means = np.array([of.mean() for of in found.values()])
            bars = np.array([bootstrap_interval(of) for of in found.values()]).T
            places = np.array([counts.index(n) for n in found]) + 0.06 * (shift - 1)
            panel.errorbar(
                places, means, np.abs(bars - means), fmt=line, color=colour, label=name, capsize=2, ms=4
            )
        panel.set(
            title=organ, xlabel="annotated regions of 64 µm", xticks=range(len(counts)), xticklabels=counts
        )
        panel.grid(axis="y", alpha=0.3)
    panels[0][0].set_ylabel("AJI on the organ's other images")
    panels[0][0].legend(frameon=False, fontsize=7)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    pyplot.close(figure)
