"""The experiment on self-correction: its table, and one run from noise to scores."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import self_correction, self_correction_table, self_correction_trainings
from nucseg_jax.errors import UserError


def result(rate: float, average: str, seed: int, **arms: float) -> dict[str, Any]:
    """A training whose arms have AJI `value` on image a and `value` + 0.1 on image b."""
    splits = {
        arm: {
            "instances": {"threshold": 0.4},
            **{s: {"b": scores(value + 0.1), "a": scores(value)} for s in ("test", "held_out")},
        }
        for arm, value in arms.items()
    }
    found = {"rate": rate, "average": average, "seed": seed, "arms": splits, "given_f1": 0.9}
    return found | ({"refined_f1": 0.95} if average == "both" else {})


def scores(value: float) -> dict[str, float]:
    return {"aji": value, "dice": 2 * value}


RESULTS = [
    result(0.1, "parameters", 0, nothing=0.2, parameters=0.3),
    result(0.1, "parameters", 1, nothing=0.4, parameters=0.4),
    result(0.1, "both", 1, labels=0.3, both=0.6),
    result(0.1, "both", 0, labels=0.2, both=0.4),
]


def test_differences_are_of_the_same_seed_and_image() -> None:
    rows = {row["arm"]: row for row in self_correction_table.table(RESULTS, "test")}
    assert list(rows) == ["nothing", "parameters", "labels", "both"]
    assert "difference" not in rows["nothing"]["aji"]
    np.testing.assert_allclose(rows["nothing"]["aji"]["by_seed"], [0.25, 0.45])
    both = rows["both"]["aji"]
    np.testing.assert_allclose(both["difference_by_seed"], [0.2, 0.2])
    assert both["mean"] == pytest.approx(0.55) and both["difference"]["mean"] == pytest.approx(0.2)
    assert both["difference"]["wins"] == 2 and both["difference"]["low"] == pytest.approx(0.2)
    np.testing.assert_allclose(rows["labels"]["dice"]["difference_by_seed"], [0.0, -0.2], atol=1e-12)
    assert rows["both"]["given_f1"] == 0.9 and rows["both"]["refined_f1"] == 0.95


def test_the_table_says_what_it_has() -> None:
    lines = self_correction_table.printed(self_correction_table.table(RESULTS, "held_out")).splitlines()
    assert len(lines) == 6 and lines[0].count("|") == lines[1].count("|") == lines[-1].count("|")
    assert lines[-1].startswith(
        "| held-out | 10% | both | 1.100 | +0.400 (+0.400 to +0.400) | +0.400, +0.400 |"
    )


def test_an_arm_without_its_baseline_has_no_difference() -> None:
    row = self_correction_table.table(RESULTS[2:], "test")[-1]
    assert row["arm"] == "both" and "difference" not in row["aji"]
    json.dumps(row)


def test_options_keep_all_their_values() -> None:
    needed = ["--data", "data", "--out", "out"]
    args = self_correction.parse(
        [*needed, "--rates", "0.1", "--rates", "0.3", "--seeds", "5", "--seeds", "6"]
    )
    assert args.rates == [0.1, 0.3] and args.seeds == [5, 6]
    args = self_correction.parse([*needed, "--set", "a=1", "--set", "b=x"])
    assert args.set == [("a", 1), ("b", "x")]
    assert args.rates == [0.0, 0.2] and args.seeds == [0, 1, 2]


def test_finished_trainings_are_not_repeated(tmp_path: Path) -> None:
    job, roots = self_correction_trainings.Job(0.125, "both", 3), {0.125: tmp_path}
    done = tmp_path / "runs/rate12.5_both_3/result.json"
    done.parent.mkdir(parents=True)
    config = self_correction_trainings.experiment("unet", 0.125, {"num_steps": 7})
    assert config.num_steps == 7
    config.seed, config.data.dir, config.self_correction.average = 3, str(tmp_path), "both"
    kept = {"kept": True, "config": json.loads(config.to_json_best_effort())}
    done.write_text(json.dumps(kept))
    assert self_correction_trainings.run(job, config, roots, tmp_path) == kept
    config.num_steps = 8
    with pytest.raises(UserError, match="result.json: is of another config"):
        self_correction_trainings.run(job, config, roots, tmp_path)
