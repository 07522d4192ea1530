"""The table of `self_correction`: means, and differences of what is the same but for one thing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.self_correction_trainings import ARMS, SCORES, mean
from nucseg_jax.metrics import statistics

BASELINE = "nothing"
"""The arm that the others are compared with."""

LABELS = ("given_f1", "refined_f1")
"""Nucleus F1 of the training images' labels, as given and as refined, against the sound annotation."""


def table(results: Sequence[Mapping[str, Any]], split: str) -> list[dict[str, Any]]:
    """A row for each rate and arm: means, and differences from the baseline of the same seed.

    The interval is that of the mean over images (each image's difference averaged over seeds).
    """
    rows = []
    for rate in sorted({r["rate"] for r in results}):
        by_arm: dict[str, dict[int, Any]] = {}
        for r in (r for r in results if r["rate"] == rate):
            for arm, splits in r["arms"].items():
                by_arm.setdefault(arm, {})[r["seed"]] = splits[split]
        labels = {key: mean(r[key] for r in results if r["rate"] == rate and key in r) for key in LABELS}
        for arm in (a for arms in ARMS.values() for a in arms if a in by_arm):
            seeds = sorted(by_arm[arm])
            row: dict[str, Any] = {"split": split, "rate": rate, "arm": arm, "seeds": seeds, **labels}
            for key in SCORES:
                values = scores_of(by_arm[arm], seeds, key)
                row[key] = {"mean": float(values.mean()), "by_seed": values.mean(axis=1).tolist()}
                if arm != BASELINE and by_arm.get(BASELINE, {}).keys() >= set(seeds):
                    before = scores_of(by_arm[BASELINE], seeds, key)
                    difference = statistics.paired_difference(values.mean(axis=0), before.mean(axis=0))
                    row[key]["difference"] = difference._asdict()
                    row[key]["difference_by_seed"] = (values - before).mean(axis=1).tolist()
            rows.append(row)
    return rows


def scores_of(by_seed: Mapping[int, Any], seeds: Sequence[int], key: str) -> NDArray[np.float64]:
    """[seeds, images], images by their ids."""
    return np.array([[by_seed[s][i][key] for i in sorted(by_seed[s])] for s in seeds])


def printed(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    heads = [
        h for name in SCORES.values() for h in (name, f"Δ {name} (95 % over images)", "Δ by seed")
    ]  # fmt: skip
    lines = ["| split | errors of each kind | corrected | " + " | ".join(heads) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(heads))
    for row in rows:
        cells = [row["split"].replace("_", "-"), f"{row['rate']:.0%}", row["arm"]]
        for key in SCORES:
            found = row[key]
            cells.append(f"{found['mean']:.3f}")
            if "difference" in found:
                d = found["difference"]
                cells.append(f"{d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})")
                cells.append(", ".join(f"{x:+.3f}" for x in found["difference_by_seed"]))
            else:
                cells += ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
