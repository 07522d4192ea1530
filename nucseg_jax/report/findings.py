"""The first paragraph of a report, from its numbers."""

from __future__ import annotations

from html import escape

from nucseg_jax.evaluation.results import Comparison, Entry
from nucseg_jax.metrics.statistics import paired_difference
from nucseg_jax.report import numbers
from nucseg_jax.report.markup import score, signed, signed_span, significant
from nucseg_jax.report.tables import images


def summary(comparison: Comparison) -> str:
    """HTML: the best network, ensembles and the classical baseline against it."""
    entries = comparison.entries
    network = numbers.best(entries, "network")
    ensemble = numbers.best(entries, "ensemble")
    sentences = []
    if network:
        several = sum(e.kind == "network" for e in entries) > 1
        sentences.append(
            f"The {'best single ' if several else ''}network, {_name(network)}, reaches {_scores(network)}"
            f" over {images(len(comparison.examples))}."
        )
    if ensemble:
        sentences.append(
            f"{_one_of(entries, 'ensemble', 'ensemble')}, {_name(ensemble)}, reaches {_scores(ensemble)}"
        )
        sentences[-1] += f": {_against(ensemble, network)}." if network else "."
    for kind, word in (("external", "other tool"), ("classical", "classical baseline")):
        if entry := numbers.best(entries, kind):
            sentences.append(f"{_one_of(entries, kind, word)}, {_name(entry)}, reaches {_scores(entry)}.")
    if any(sum(e.kind == kind for e in entries) > 1 for kind in ("network", "ensemble")):
        sentences.append("“Best” is by AJI on these very images, which favours whatever is so chosen.")
    return " ".join(sentences)


def _name(entry: Entry) -> str:
    return f"<b>{escape(entry.name)}</b>"


def _scores(entry: Entry) -> str:
    """Its AJI with the interval, and its Dice."""
    limits = numbers.interval(numbers.values(entry, "aji"))
    within = f" (95&nbsp;% interval {score(limits[0])} to {score(limits[1])})" if limits else ""
    aji, dice = (score(numbers.mean(entry, key)) for key in ("aji", "dice"))
    return f"a mean AJI of {aji}{within} and Dice of {dice}"


def _one_of(entries: tuple[Entry, ...], kind: str, word: str) -> str:
    return f"The {'best ' if sum(e.kind == kind for e in entries) > 1 else ''}{word}"


def _against(entry: Entry, other: Entry) -> str:
    """The paired difference in AJI, and what it shows."""
    a, b = numbers.values(entry, "aji"), numbers.values(other, "aji")
    if len(a) < 2:
        return f"{signed(float((a - b).mean()))} AJI against {_name(other)} on this one image"
    d = paired_difference(a, b)
    if numbers.differs(d):
        meaning = "so that the difference is hardly one of chance"
    else:
        meaning = f"so that {len(a)} images do not show which of the two is better"
    return (
        f"{signed(d.mean)} AJI against {_name(other)} (95&nbsp;% interval of the paired difference "
        f"{signed_span((d.low, d.high))}; better on {images(d.wins)}, worse on {d.losses}; "
        f"sign-flip test p {significant(d.p_value)}), {meaning}"
    )
