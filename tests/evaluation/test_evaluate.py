"""Evaluation scores what a user gets, with the settings it says, on images that were not trained on."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict
from numpy.typing import NDArray
from PIL import Image

from configs import demo
from nucseg_jax import Segmenter, data, devices, instances, metrics, runs
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.evaluation import evaluate
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.instances import NucleusMap
from nucseg_jax.nuclei import Frame
from nucseg_jax.runs.loading import load_model
from nucseg_jax.slides import open_slide, slide_of_array
from nucseg_jax.training import train
from tests.drawn_tissue import identical_part
from tests.untrained import write_run


def experiment(dataset: Path) -> ConfigDict:
    config = demo.get_config()
    config.data.dir = str(dataset)
    config.batch_size, config.num_steps = 8, 1
    config.model.width = 1 / 16
    config.data.crop_size = 32
    return config


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network was never trained, and varies."""
    workdir = tmp_path_factory.mktemp("run")
    return write_run(workdir, dataset=data.load(experiment(tiny_dataset).data))


@pytest.fixture
def config(tiny_dataset: Path) -> ConfigDict:
    return experiment(tiny_dataset)


@pytest.fixture
def workdir(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def test_image(config: ConfigDict) -> Example:
    (example,) = data.load(config.data).splits["test"]
    return example


def finding(workdir: Path, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Choices with which an untrained network finds many nuclei in an image."""
    with slide_of_array(image, 0.25) as slide:
        threshold = float(np.median(Segmenter.load(workdir).nucleus_map(slide).nucleus))
    return {"instances.method": "components", "instances.components.threshold": threshold}


def evaluated(config: ConfigDict, workdir: Path, given: dict[str, Any]) -> dict[str, Any]:
    config.update_from_flattened_dict(given)
    return evaluate.evaluate(config, workdir, given)["test"]


def test_the_score_is_of_what_a_user_gets(
    config: ConfigDict, workdir: Path, test_image: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One engine: the evaluation, the segmenter and a slide of the same pixels give the same nuclei."""
    image, truth = test_image.scored_image(), test_image.original_label_map
    given = finding(workdir, image)
    result = evaluated(config, workdir, given)
    found = Segmenter.load(workdir, overrides=given)(image, mpp=0.25)
    assert found.max() > 5
    scores = metrics.score(truth, found)
    assert {key: result["network"][key] for key in scores} == pytest.approx(scores)

    tags = {"resolution": (10000 / 0.25, 10000 / 0.25), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "image.tif", image, photometric="rgb", tile=(32, 32), **tags)
    with (
        Segmenter.load(workdir, overrides=given, small_px=0, block_px=40) as of_slides,
        open_slide(tmp_path / "image.tif") as slide,
    ):
        nuclei = of_slides.label_map(slide, of_slides.frame(slide))
    assert identical_part(nuclei, found) >= 0.995

    folder = workdir / "eval" / "folder_synthetic_none_test" / "step_1"
    saved = json.loads((folder / "scores.json").read_text())
    assert saved == json.loads(json.dumps(result))
    assert saved["settings"]["instances"] == {
        "method": "components",
        "threshold": given["instances.components.threshold"],
        "min_area_um2": 0.0,
        "max_area_um2": 0.0,
        "from": "the command line",
    }
    assert saved["settings"]["masked"] == ["pen", "black", "fill", "fold"]
    assert saved["settings"]["pixels"] == "original images"
    assert saved["settings"]["mpp"] == pytest.approx(0.25)
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert [row["entry"] for row in rows] == ["network", "baseline"]
    assert float(rows[0]["dice"]) == pytest.approx(saved["network"]["dice"], abs=1e-5)
    with Image.open(folder / "overlays" / f"{rows[0]['id']}.png") as picture:
        assert picture.size == (96, 96)
    assert (folder / "panels" / f"{rows[0]['id']}.png").exists()
    printed = capsys.readouterr().out
    assert "all (mean)" in printed and "colour deconvolution + Otsu" in printed and str(folder) in printed
    assert "nuclei were made by components (max_area_um2 0, min_area_um2 0, threshold" in printed


def test_datasets_of_one_name_have_folders_of_their_own(
    config: ConfigDict, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails leaves the older scores as they were."""
    dataset = data.load(config.data)

    def folders() -> dict[str, bytes]:
        paths = (workdir / "eval").glob("*/*")
        return {str(path.relative_to(workdir)): (path / "scores.json").read_bytes() for path in paths}

    for name in ("folder/synthetic_none", "monuseg/synthetic_none"):
        monkeypatch.setattr(data, "load", lambda _, name=name: replace(dataset, name=name))
        evaluate.evaluate(config, workdir)
    before = folders()
    assert set(before) == {f"eval/{name}_synthetic_none_test/step_1" for name in ("folder", "monuseg")}
    monkeypatch.setattr(evaluate.drawing, "panel", lambda *_, **__: 1 / 0)
    config.eval.min_area_um2 = 9.0
    with pytest.raises(ZeroDivisionError):
        evaluate.evaluate(config, workdir)
    assert folders() == before


def test_scores_of_other_annotations_are_not_replaced_in_silence(
    config: ConfigDict, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset of the same name that lies elsewhere, or was prepared again."""
    dataset = data.load(config.data)
    evaluate.evaluate(config, workdir)
    evaluate.evaluate(config, workdir)
    assert "other annotations" not in capsys.readouterr().out
    changed = [
        replace(e, original_label_map=np.roll(e.original_label_map, 1, 0)) for e in dataset.splits["test"]
    ]
    monkeypatch.setattr(data, "load", lambda _: replace(dataset, splits=dataset.splits | {"test": changed}))
    evaluate.evaluate(config, workdir)
    folder = workdir / "eval/folder_synthetic_none_test/step_1"
    assert f"note: {folder}: had scores of other annotations, which are replaced" in capsys.readouterr().out


def test_the_papers_protocol(config: ConfigDict, workdir: Path, test_image: Example) -> None:
    """Tiles of the patches' size that do not overlap, components, 70 pixels of the original image."""
    image = test_image.scored_image()
    given = finding(workdir, image) | {"eval.overlap_px": 0, "eval.min_area_um2": 70 * 0.25**2}
    result = evaluated(config, workdir, given)
    model = load_model(workdir, devices.make_mesh())
    tiles = image.reshape(3, 32, 3, 32, 3).swapaxes(1, 2).reshape(9, 32, 32, 3)
    said = np.asarray(model.network.probabilities(model.params, model.batch_stats, tiles))[..., 1]
    whole = said.reshape(3, 3, 32, 32).swapaxes(1, 2).reshape(96, 96)
    mask = np.rint(whole * 255).astype(np.uint8) * np.float32(1 / 255)
    nuclei = instances.components(mask > given["instances.components.threshold"])
    truth = test_image.original_label_map
    assert result["network"]["aji"] == pytest.approx(metrics.score(truth, nuclei)["aji"], abs=2e-3)
    large = metrics.overlaps(truth, metrics.remove_small(nuclei, 70))
    assert result["network"]["aji_min_area"] == pytest.approx(metrics.aji(large), abs=2e-3)
    assert abs(result["network"]["count_min_area"] - large.count_pred) <= 1
    assert result["settings"]["overlap_px"] == 0 and result["min_area_um2"] == 4.375


def test_tuned_parameters_are_taken_and_said(config: ConfigDict, workdir: Path) -> None:
    best = {
        "watershed": {
            "parameters": {"threshold": 0.4, "h_um": 0.25, "smoothing_um": 0.5, "min_area_um2": 2.0}
        }
    }
    (workdir / runs.TUNING).write_text(json.dumps({"best": best}))
    assert evaluate.evaluate(config, workdir)["test"]["settings"]["instances"] == {
        "method": "watershed",
        **best["watershed"]["parameters"],
        "max_area_um2": 800.0,
        "from": "tuning.json",
    }
    given = {"instances.watershed.h_um": 1.0}
    chosen = evaluated(config, workdir, given)["settings"]["instances"]
    assert chosen["h_um"] == 1.0 and chosen["threshold"] == 0.4
    assert chosen["from"] == "tuning.json and the command line"
    # It has the best of each method; of one that it has not, the config's.
    given = {"instances.method": "watershed"}
    chosen = evaluated(config, workdir, given)["settings"]["instances"]
    assert chosen["h_um"] == 0.25 and chosen["from"] == "tuning.json and the command line"
    given = {"instances.method": "components"}
    assert evaluated(config, workdir, given)["settings"]["instances"]["from"] == "the command line"
    with pytest.raises(UserError, match=r"--set instances\.boundary\.threshold: has no effect on"):
        evaluate.evaluate(config, workdir, {"instances.boundary.threshold": 0.5})


def test_a_tuning_of_other_weights_is_said(
    config: ConfigDict, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = {"components": {"parameters": {"threshold": 0.4, "min_area_um2": 2.0}}}
    about = {"best": best, "model": "unet, step 7", "params_sha256": "0" * 64}
    (workdir / runs.TUNING).write_text(json.dumps(about))
    evaluate.evaluate(config, workdir)
    assert "was tuned on other weights (unet, step 7) than those taken" in capsys.readouterr().out


def test_sizes_of_an_earlier_release_are_converted_and_said(
    config: ConfigDict, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {"threshold": 0.4, "h_px": 2.0, "smoothing_px": 1.0, "min_area_px": 48}
    (workdir / runs.TUNING).write_text(json.dumps({"best": {"watershed": {"parameters": parameters}}}))
    chosen = evaluate.evaluate(config, workdir)["test"]["settings"]["instances"]
    sizes = [chosen[key] for key in ("h_um", "smoothing_um", "min_area_um2")]
    assert sizes == pytest.approx([0.5, 0.25, 3.0])
    printed = capsys.readouterr().out
    assert "h_px 2, smoothing_px 1, min_area_px 48 are taken at 0.25 µm a pixel" in printed
    assert printed.count("of an earlier release") == 1


def moved(dataset: Dataset, *names: str, renamed: str = "", **metadata: Any) -> Dataset:
    """The dataset with some of its training images as its test images."""
    examples = [replace(e, id=renamed or e.id) for e in dataset.splits["train"] if e.id in names]
    sha256 = dict(dataset.metadata["sha256"])
    if renamed:
        sha256 = {renamed: sha256[names[0]]}
    return Dataset("folder/other", {"train": [], "test": examples}, {"sha256": sha256} | metadata)


@pytest.mark.parametrize("renamed", ["", "another"])
def test_images_that_were_trained_on_are_not_scored(
    config: ConfigDict, workdir: Path, monkeypatch: pytest.MonkeyPatch, renamed: str
) -> None:
    dataset = data.load(config.data)
    first, *_ = sorted(e.id for e in dataset.splits["train"])
    other = moved(dataset, first, renamed=renamed, mpp=0.25)
    monkeypatch.setattr(data, "load", lambda _: other)
    with pytest.raises(UserError) as error:
        evaluate.evaluate(config, workdir)
    assert f"was trained on 1 of these 1 images of folder/other: {renamed or first}. " in str(error.value)
    assert "data.split=synthetic" in str(error.value)
    # Another image of the same name is another image.
    other = moved(dataset, first, mpp=0.25)
    other.metadata["sha256"][first] = "0" * 64
    evaluate.evaluate(config, workdir)


def prepared_run(workdir: Path, dataset: Dataset, **changes: Any) -> tuple[runs.Run, ScoredRun]:
    """An untrained run as a release before this one, or a conversion, left it; on a dataset's test images."""
    write_run(workdir, data__stain="vahadane", data__dataset="folder", data__split="synthetic", **changes)
    mesh = devices.make_mesh()
    run = runs.open_run(workdir, mesh, {})
    if changes:
        run.model.info["converted_from"] = {"file": "a.pth"}
    return run, ScoredRun(run, mesh, dataset, dataset.splits["test"])


def shifted(dataset: Dataset) -> Dataset:
    """As if staintools had prepared it: other pixels than the originals, twice as large, no target known."""

    def prepared(example: Example) -> Example:
        enlarge: Callable[[NDArray], NDArray] = lambda x: x.repeat(2, axis=0).repeat(2, axis=1)  # noqa: E731
        image = enlarge(32 + example.image // 2)
        return replace(example, image=image, label_map=enlarge(example.label_map))

    splits = {split: [prepared(e) for e in examples] for split, examples in dataset.splits.items()}
    facts = {"mpp": 0.25, "mpp_source": "test", "stain_backend": "staintools"}
    return Dataset("folder/synthetic_vahadane", splits, facts)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="staintools"),
        pytest.param(
            {"model__channel_order": "BGR", "model__input_scale": 0.5}, id="converted", marks=pytest.mark.slow
        ),
    ],
)
def test_without_a_target_the_engine_takes_the_prepared_pixels(
    config: ConfigDict, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """At their own resolution, each in the way that the weights take images."""
    dataset = shifted(data.load(config.data))
    run, scored = prepared_run(tmp_path, dataset, **changes)
    assert run.lacks_target and scored.settings()["pixels"] == "prepared images"
    assert scored.network_mpp == 0.125
    assert any("does not record which images it was trained on" in note for note in scored.notes)
    (example,) = dataset.splits["test"]
    found = scored.nucleus_map(example).nucleus
    assert found.shape == (192, 192)
    # The network itself, on the prepared image and its reflection around.
    around, model = 256, run.model
    tile = np.pad(example.image, ((around, around), (around, around), (0, 0)), mode="symmetric")
    said = model.network.probabilities(model.params, model.batch_stats, tile[None])
    expected = np.asarray(said)[0, around:-around, around:-around, 1]
    assert np.abs(found - expected).max() < 1.5 / 255
    assert scored.label_map(example).shape == example.original_label_map.shape == (96, 96)


def test_a_run_keeps_its_resolution_on_images_of_another(config: ConfigDict, tmp_path: Path) -> None:
    """One that records none: on its own dataset it has that dataset's, on another one's the usual."""
    write_run(tmp_path, data__dataset="folder", data__split="synthetic")
    mesh = devices.make_mesh()
    run = runs.open_run(tmp_path, mesh, {})
    loaded = data.load(config.data)
    own = Dataset(loaded.name, loaded.splits, {"mpp": 0.5, "mpp_source": "test"})
    other = Dataset("folder/other_none", loaded.splits, {"mpp": 0.5, "mpp_source": "test"})
    of_own, of_other = (ScoredRun(run, mesh, d, d.splits["test"]) for d in (own, other))
    assert (of_own.network_mpp, of_other.network_mpp) == (0.5, 0.25)
    (example,) = other.splits["test"]
    assert of_own.nucleus_map(example).nucleus.shape == (96, 96)
    assert of_other.nucleus_map(example).nucleus.shape == (192, 192)
    assert of_other.label_map(example).shape == (96, 96)
    note = "was trained on folder/synthetic_none, and is scored on folder/other_none"
    assert any(note in line for line in of_other.notes)
    assert not any(note in line for line in of_own.notes)


def test_prepared_pixels_of_other_stains_are_refused(config: ConfigDict, tmp_path: Path) -> None:
    dataset = shifted(data.load(config.data))
    mesh = devices.make_mesh()
    write_run(tmp_path, data__stain="vahadane")
    run = runs.open_run(tmp_path, mesh, {})
    run.model.info["dataset"] = {"stain_backend": "jax"}
    with pytest.raises(DataError, match="with another backend than those that .* was trained on"):
        ScoredRun(run, mesh, dataset, dataset.splits["test"])


def test_label_maps_are_laid_on_the_original_image() -> None:
    frame = Frame((3, 5), mpp=0.5, network_mpp=0.25)
    of_network = np.arange(60, dtype=np.int32).reshape(6, 10)
    np.testing.assert_array_equal(frame.label_map(of_network), of_network[1::2, 1::2])
    enlarged = Frame((6, 10), mpp=0.25, network_mpp=0.5).label_map(of_network[:3, :5])
    np.testing.assert_array_equal(enlarged, of_network[:3, :5].repeat(2, axis=0).repeat(2, axis=1))


def test_maps_are_resized_between_pixel_centres() -> None:
    ramp = NucleusMap(np.tile(np.linspace(0, 1, 8, dtype=np.float32), (4, 1)))
    assert ramp.resized((4, 8)) is ramp
    larger = ramp.resized((8, 16)).nucleus
    assert larger.shape == (8, 16) and (np.diff(larger[0]) >= 0).all()
    np.testing.assert_allclose(larger[0, 3:13], (np.arange(3, 13) - 0.5) / 14, atol=1e-6)


def test_a_network_keeps_its_weights_through_a_checkpoint(config: ConfigDict, tmp_path: Path) -> None:
    state = train.train(config, tmp_path)
    loaded = load_model(tmp_path, devices.make_mesh())
    for a, b in zip(
        jax.tree.leaves((state.params, state.batch_stats)),
        jax.tree.leaves((loaded.params, loaded.batch_stats)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("key", "value"), [("model.width", 0.5), ("data.crop_size", 96)])
def test_a_network_is_only_scored_on_the_input_it_was_trained_with(
    key: str, value: float, config: ConfigDict, workdir: Path
) -> None:
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"{key}: .* → {value}"):
        evaluate.evaluate(config, workdir)


def test_scores_are_of_the_pixels_that_are_annotated(
    config: ConfigDict,
    workdir: Path,
    test_image: Example,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As `metrics.score` has them with the mask; it is said, written and drawn. None at all is refused."""
    dataset = data.load(config.data)
    given = finding(workdir, test_image.scored_image())
    found = Segmenter.load(workdir, overrides=given)(test_image.scored_image(), mpp=0.25)
    mask = np.broadcast_to(np.arange(96) >= 48, (96, 96))
    truth = np.where(mask, 0, test_image.original_label_map).astype(np.int32)
    partly = replace(test_image, original_label_map=truth, original_unannotated=mask)

    def load(example: Example) -> None:
        splits = {**dataset.splits, "test": [example]}
        monkeypatch.setattr(evaluate.data, "load", lambda _: replace(dataset, splits=splits))

    load(partly)
    result = evaluated(config, workdir, given)
    scores = metrics.score(truth, found, mask)
    assert {key: result["network"][key] for key in scores} == pytest.approx(scores)
    assert scores["count_pred"] < metrics.score(truth, found)["count_pred"]
    assert result["network"]["dice_pooled"] == pytest.approx(scores["dice"])
    assert result["annotated_share"] == 0.5
    note = (
        "note: folder/synthetic_none: 1 of 1 images are annotated in part. Only annotated pixels count, 50 %"
    )
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count(note) == 1
    (panel,) = (workdir / "eval").rglob("panels/*.png")
    hatched = np.asarray(Image.open(panel))[:96, -48:]
    assert set(np.unique(hatched)) == {0, 60}
    load(replace(partly, original_unannotated=np.ones((96, 96), bool)))
    with pytest.raises(DataError, match=f"no pixel of {test_image.id} .images. is annotated"):
        evaluated(config, workdir, given)
