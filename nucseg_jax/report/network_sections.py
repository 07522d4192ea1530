"""What the networks cost, and how they were trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nucseg_jax.evaluation.results import Comparison, Entry
from nucseg_jax.report import charts, literature, numbers, scatter
from nucseg_jax.report.markup import Cell, TableRow, details, head, significant, table, whole
from nucseg_jax.report.tables import NONE

_COST = ("parameters", "gflops")


def cost_table(comparison: Comparison) -> str:
    """The paper's Table II with sizes and costs, then the networks that were scored here."""
    rows = [TableRow("The paper’s networks, full width, two classes")]
    for n in literature.NETWORKS:
        words = [Cell(escape(n.backbone), css="text"), Cell(escape(n.source), css="prose")]
        rows.append(
            TableRow(escape(n.label), [*words, Cell(whole(n.parameters)), Cell(significant(n.gflops))])
        )
    if scored := [(i, e) for i, e in enumerate(comparison.entries, 1) if e.kind == "network"]:
        rows.append(TableRow("Scored here"))
    for i, entry in scored:
        parameters, gflops = (entry.facts.get(key) for key in _COST)
        words = [Cell(escape(_backbone(entry)), css="text"), Cell(escape(_origin(entry)), css="prose")]
        sizes = [NONE if parameters is None else Cell(whole(parameters))]
        sizes.append(NONE if gflops is None else Cell(significant(gflops)))
        rows.append(TableRow(head(i, entry), [*words, *sizes]))
    caption = (
        "Networks: backbone and source (the paper’s Table II), parameters, and GFLOPs of one forward pass "
        "of a 512×512 image as it is computed here (a multiply-add is two)."
    )
    return table(caption, ["network", "backbone", "source", "parameters", "GFLOPs"], rows, text=(1, 2))


def _published(entry: Entry) -> literature.PublishedNetwork | None:
    return next((n for n in literature.NETWORKS if n.name == entry.facts.get("model")), None)


def _backbone(entry: Entry) -> str:
    network = _published(entry)
    return network.backbone if network else "–"


def _origin(entry: Entry) -> str:
    """Which network it is, and what of it differs from the published one."""
    network = _published(entry)
    model = entry.facts.get("config", {}).get("model", {})
    parts = [network.label if network else str(entry.facts.get("model", "–"))]
    if model.get("width", 1.0) != 1.0:
        parts.append(f"width × {model['width']:g}")
    if model.get("num_classes", 2) != 2:
        parts.append(f"{model['num_classes']} classes")
    if method := entry.facts.get("instances", {}).get("method"):
        parts.append(f"nuclei by {method}")
    return ", ".join(parts)


def parameter_bars(comparison: Comparison) -> str:
    """SVG: parameters of the entries' networks, and of the published ones."""
    rows = [
        _bar(e.name, e.kind, e.facts["parameters"]) for e in comparison.entries if e.facts.get("parameters")
    ]
    rows += [_bar(f"{n.label} (paper)", "", n.parameters) for n in literature.NETWORKS]
    return charts.bars("Parameters", "millions", rows)


def aji_by_gflops(comparison: Comparison) -> str:
    """SVG: AJI over GFLOPs, of the entries' networks and of the paper's."""
    points = [
        scatter.CostPoint(
            e.name,
            e.kind,
            e.facts["gflops"],
            numbers.mean(e, "aji"),
            numbers.interval(numbers.values(e, "aji")),
        )
        for e in comparison.entries
        if e.facts.get("gflops")
    ]
    points += [
        scatter.CostPoint(n.label, "", n.gflops, n.aji, None)
        for n in literature.NETWORKS
        if n.aji is not None
    ]
    return scatter.score_by_cost("AJI over cost", "GFLOPs of a 512×512 image (logarithmic)", "AJI", points)


def _bar(name: str, kind: str, parameters: int) -> charts.Bar:
    return charts.Bar(name, kind, parameters / 1e6, significant(parameters / 1e6))


def appendix(comparison: Comparison) -> str:
    """Each entry's facts, its experiment folded, as aligned text."""
    parts = []
    for i, entry in enumerate(comparison.entries, 1):
        facts = {k: v for k, v in entry.facts.items() if k != "config"}
        html = f"<h3>{head(i, entry)}</h3>\n"
        if facts:
            html += _text(facts)
        if config := entry.facts.get("config"):
            html += details("experiment (config)", _text(config))
        parts.append(html)
    return "".join(parts)


def _text(values: Mapping[str, Any]) -> str:
    """Lines of `key: value`, the values below each other."""
    pairs = list(_flat(values))
    width = max((len(key) for key, _ in pairs), default=0) + 1
    return "<pre>" + escape("\n".join(f"{key + ':':<{width}}  {value}" for key, value in pairs)) + "</pre>\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested keys joined by dots, in their order."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield (
                f"{prefix}{key}",
                value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False),
            )
