"""The loop of correction: predicted, corrected in QuPath, prepared, trained on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from nucseg_jax.cli import main as nucseg
from nucseg_jax.data import tfds
from nucseg_jax.runs.loading import newest_info
from tests.data_prep.qupath_files import cell, rectangle, region
from tests.drawn_tissue import tissue
from tests.untrained import write_run

SIDE = 192
WRONG, REDRAWN, AS_CELL = range(3)
SQUARE, REGION = (60, 60, 76, 80), (40, 40, 150, 150)


def as_qupath_writes(found: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """What `nucseg predict` wrote, after somebody has worked on it in QuPath and exported all objects.

    One nucleus is deleted, one drawn again, one made a cell with a larger outline of its own; all nuclei in
    the way of the square are deleted, and a region says where somebody looked.

    Returns:
      The document, and the numbers of the nuclei that were deleted, from 1.
    """
    left, top, right, bottom = SQUARE
    kept, gone = [], []
    for number, feature in enumerate(found["features"]):
        points = np.array(feature["geometry"]["coordinates"][0])
        outside = (points.max(0) < (left, top)) | (points.min(0) > (right, bottom))
        if number == WRONG or not outside.any():
            gone.append(number + 1)
        elif number == AS_CELL:
            (x, y), (x2, y2) = (points.min(0) - 3).tolist(), (points.max(0) + 3).tolist()
            kept.append(cell(rectangle(x, y, x2, y2), feature["geometry"]))
        else:
            properties = feature["properties"] | {"measurements": {"Nucleus: Area µm^2": 21.5}}
            kept.append(feature | {"properties": properties})
    redrawn = {"type": "Feature", "id": found["features"][REDRAWN]["id"], "geometry": rectangle(*SQUARE)}
    redrawn["properties"] = {"objectType": "annotation", "isLocked": True}
    return {"type": "FeatureCollection", "features": [*kept, redrawn, region(*REGION)]}, gone


@pytest.mark.slow
def test_nuclei_come_back_corrected_and_are_trained_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", instances__method="watershed", model__num_classes=3)
    source = tmp_path / "source"
    source.mkdir()
    tags: dict[str, Any] = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(source / "a.tif", tissue(SIDE, SIDE, 40, seed=0), photometric="rgb", **tags)
    out = tmp_path / "out"
    command = ["predict", source / "a.tif", "--workdir", run, "--out", out]
    assert nucseg([*map(str, command), "--formats", "geojson", "labels"]) == 0
    found = json.loads((out / "a/nuclei.geojson").read_text())
    corrected, gone = as_qupath_writes(found)
    (source / "a.geojson").write_text(json.dumps(corrected))

    data_dir = tmp_path / "data"
    command = ["prepare", "folder", "--source", source, "--out", data_dir, "--name", "mine"]
    assert nucseg([*map(str, command), "--stain", "none", "--no-test"]) == 0
    dataset = tfds.read(data_dir / "folder/mine_none/1.0.0", "folder/mine_none")
    (example,) = dataset.splits["train"]
    annotated = np.zeros((SIDE, SIDE), bool)
    annotated[REGION[1] : REGION[3], REGION[0] : REGION[2]] = True
    assert example.unannotated is not None
    np.testing.assert_array_equal(example.unannotated, ~annotated)
    predicted = tifffile.imread(out / "a/labels.tif")
    square = np.zeros((SIDE, SIDE), bool)
    square[SQUARE[1] : SQUARE[3], SQUARE[0] : SQUARE[2]] = True
    assert len(gone) > 1 and not (square & (predicted > 0) & ~np.isin(predicted, gone)).any()
    expected = (predicted > 0) & ~np.isin(predicted, gone) | square
    np.testing.assert_array_equal((example.label_map > 0)[annotated], expected[annotated])

    workdir = tmp_path / "mine"
    changes = {
        "data.dir": data_dir,
        "data.split": "mine",
        "num_steps": 2,
        "data.crop_size": 32,
        "batch_size": 8,
    }
    changes |= {"init.crop_um": None, "augment.smallest_scale": 1.0, "augment.largest_scale": 1.0}
    settings = [f"{key}={value}" for key, value in changes.items()]
    assert (
        nucseg(["train", "finetune", "--init", str(run), "--workdir", str(workdir), "--set", *settings]) == 0
    )
    printed = capfd.readouterr().out
    assert f"training starts from {run}, step 1" in printed
    info = newest_info(workdir)
    assert info is not None and info["init"]["source"] == str(run)
