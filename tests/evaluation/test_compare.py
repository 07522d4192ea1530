"""Runs, an ensemble, the baseline and another tool on one split: scored alike and reported."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs import demo
from nucseg_jax import data, metrics, runs
from nucseg_jax.cli import main as nucseg
from nucseg_jax.errors import UserError
from nucseg_jax.evaluation.compare import ComparisonRequest, compare
from nucseg_jax.evaluation.ensemble import of_runs
from tests.untrained import write_run


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two untrained runs, `a` and `b`, that held one image out; `b` has a class for boundaries."""
    folder = tmp_path_factory.mktemp("runs")
    config = demo.get_config()
    config.data.dir = str(tiny_dataset)
    dataset = data.load(config.data)
    held_out = (dataset.splits["train"][0].id,)
    for name, classes in (("a", 2), ("b", 3)):
        write_run(
            folder / name,
            dataset=dataset,
            data__dir=str(tiny_dataset),
            data__validation=held_out,
            model__num_classes=classes,
        )
    return [folder / "a", folder / "b"]


@pytest.fixture
def truth(tiny_dataset: Path) -> dict[str, np.ndarray]:
    config = demo.get_config()
    config.data.dir = str(tiny_dataset)
    return {e.id: e.original_label_map for e in data.load(config.data).splits["test"]}


def test_the_command(trained, truth, tmp_path, capsys):
    (tmp_path / "tool").mkdir()
    for image_id, labels in truth.items():
        np.save(tmp_path / "tool" / f"{image_id}.npy", labels)
    arguments = ["--workdirs", *map(str, trained), "--ensemble", "or(a,b)", "--out", str(tmp_path / "out")]
    tool = ["--predictions", f"perfect={tmp_path / 'tool'}", "--set", "instances.method=watershed"]
    assert nucseg(["report", *arguments, *tool]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [row["entry"] for row in rows] == ["a", "b", "or(a, b)", "classical", "perfect"]
    scores = {row["entry"]: row for row in rows}
    assert float(scores["perfect"]["aji"]) == float(scores["perfect"]["pq"]) == 1.0
    for entry, folder in (("a", "a"), ("or(a, b)", "or_a_b")):
        for image_id, labels in truth.items():
            with Image.open(out / "label_maps" / folder / f"{image_id}.png") as picture:
                found = np.array(picture).astype(np.int32)
            assert metrics.score(labels, found)["aji"] == pytest.approx(float(scores[entry]["aji"]), abs=1e-5)
    page = (out / "report.html").read_text()
    assert "or(a, b)" in page and "perfect" in page and "--set instances.method=watershed" in page
    assert f"wrote {out / 'report.html'}" in printed


@pytest.mark.slow
def test_an_ensemble_has_each_members_threshold_and_is_tuned_on_what_all_held_out(trained, monkeypatch):
    grid = {"components": {"threshold": (0.5,), "min_area_um2": (0.0, 1.0)}}
    monkeypatch.setattr(of_runs, "GRIDS", grid)
    found = compare(ComparisonRequest(tuple(trained), "or(a, and(a, b))", {}, "test", {}))
    a, b, both, _ = found.entries
    thresholds = {e.name: e.facts["instances"]["threshold"] for e in (a, b)}
    assert both.facts["thresholds"] == thresholds == {"a": 0.2, "b": 0.5}
    assert both.facts["instances"]["from"] == "1 held-out images"
    assert both.facts["instances"]["min_area_um2"] in (0.0, 1.0)
    # or(a, …) has all of a's pixels, at a's threshold; and(a, b) adds none.
    pixels = [np.concatenate([i.label_map.ravel() > 0 for i in entry.images]) for entry in (a, both)]
    assert pixels[0].any() and (pixels[0] != pixels[1]).mean() < 0.02
    given = {"instances.method": "components", "instances.components.min_area_um2": 3.0}
    told = (
        compare(ComparisonRequest(tuple(trained), "or(a, b)", {}, "test", given))
        .entries[2]
        .facts["instances"]
    )
    assert (told["method"], told["threshold"], told["min_area_um2"]) == ("components", 0.5, 3.0)
    alone = compare(ComparisonRequest(tuple(trained), "vote(a, b)", {}, "test", {})).entries[2]
    assert alone.facts["instances"]["from"] == "the settings of a"
    assert alone.facts["instances"]["threshold"] == 0.5  # of maps whose own threshold was moved there


def test_tuned_parameters_are_taken_unless_told_otherwise(trained, one_device, tmp_path):
    best = {
        "watershed": {
            "parameters": {"threshold": 0.4, "h_um": 0.5, "smoothing_um": 0.25, "min_area_um2": 0.3}
        }
    }
    tuning = trained[0] / runs.TUNING
    tuning.write_text(json.dumps({"best": best}))
    try:
        found = runs.open_run(trained[0], one_device, {})
        assert found.config.instances.method == "watershed"
        assert found.config.instances.watershed.h_um == 0.5
        assert found.facts()["instances"]["from"] == found.instances_from == runs.TUNING
        told = runs.open_run(trained[0], one_device, {"instances.method": "components"})
        assert told.instances_from == "the command line" and told.config.instances.method == "components"
        tuning.write_text("{}")
        with pytest.raises(UserError, match=r"tuning\.json: cannot be read"):
            runs.open_run(trained[0], one_device, {})
    finally:
        tuning.unlink()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "validation"}, "has no split 'validation' to score; it has: test"),
        ({"expression": "or(a, c)"}, "unknown model 'c'"),
        ({"expression": "weighted(a, b)"}, "needs a validation score"),
        ({"overrides": {"model.width": 1}}, "--set model.width: only data.dir"),
        (
            {"overrides": {"instances.watershed.h": 1}},
            "watershed.h: there is no such setting",
        ),
        ({"overrides": {"instances.method": "boundary"}}, "class for boundaries"),
        ({"tools": {"a": Path("x")}}, "a: name of a run and of something else"),
        ({"tools": {"classical": Path("x")}}, "classical: name of a run and of something else"),
        ({"expression": "or(a, b)", "tools": {"or(a, b)": Path("x")}}, r"or\(a, b\): name of a run and of"),
    ],
)
def test_what_cannot_be_compared(trained, changes, message):
    asked = {"workdirs": tuple(trained), "expression": None, "tools": {}, "split": "test", "overrides": {}}
    with pytest.raises(UserError, match=message):
        compare(ComparisonRequest(**asked | changes))


def test_names_of_runs():
    assert runs.names_of([Path("x/a"), Path("y/a"), Path("y/b")]) == ["x-a", "y-a", "b"]
    with pytest.raises(UserError, match="names a folder twice"):
        runs.names_of([Path("a"), Path("./a")])
    with pytest.raises(UserError, match=r"1/x/a and 2/x/a would both be named x-a\. Rename"):
        runs.names_of([Path("1/x/a"), Path("2/x/a")])
    with pytest.raises(UserError, match="would both be named x-a"):
        runs.names_of([Path("x/a"), Path("y/a"), Path("x-a")])
