"""Every reader of files and texts: what it reads, and what is right of its result.

The modules that read are imported by the functions: a child loads what its reader needs.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import seeds

_MOST_PIXELS = 10**8  # of an image that is read whole: larger ones take long


@dataclass(frozen=True)
class Reader:
    """A reader, and how it is tried.

    Attributes:
      name: for people, and what inputs are drawn from.
      seeds: writes whole inputs, files or folders, to a folder.
      read: a file or folder → what the reader makes of it.
      check: raises AssertionError unless a result is right. It also gets the results of the whole inputs.
      in_suite: inputs of the suite: as many as take a few seconds; 0: only `make fuzz` tries it.
      needs: a package that is not part of every install.
      subject: a pattern of what a message names, where that is not the file.
      most_lines: of a message.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    check: Callable[[Any, Sequence[Any]], None]
    in_suite: int = 200
    needs: str = ""
    subject: str = ""
    most_lines: int = 1


def _read_slide(path: Path) -> Any:
    from nucseg_jax.slides import open_slide

    with open_slide(path, assumed_mpp=0.5) as slide:
        assert slide.mpp is not None
        height, width = (min(side, 300) for side in slide.size)
        if max(slide.size) > 2**16:  # which takes long to be read whole
            region = slide.region(0, 0, height, width, slide.mpp)
            return slide.size, slide.mpp, region, region
        return (
            slide.size,
            slide.mpp,
            slide.thumbnail(max(1, max(slide.size) // 32)),
            slide.region(0, 0, height, width, slide.mpp),
        )


def _check_slide(result: Any, _: Sequence[Any]) -> None:
    size, mpp, thumbnail, region = result
    assert 0.05 <= mpp <= 1.0, mpp
    assert thumbnail.dtype == np.uint8 and thumbnail.ndim == 3 and thumbnail.shape[2] == 3, thumbnail.shape
    assert max(thumbnail.shape[:2]) <= max(300, max(size) // 32) and min(thumbnail.shape[:2]) > 0
    assert region.dtype == np.uint8 and region.shape == (min(size[0], 300), min(size[1], 300), 3), (
        region.shape
    )


def _read_image(path: Path) -> Any:
    from nucseg_jax.slides import read_image

    return read_image(path, most_pixels=_MOST_PIXELS)


def _check_image(result: Any, _: Sequence[Any]) -> None:
    pixels, (mpp, source), notes = result
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, pixels.shape
    assert 0 < pixels.shape[0] * pixels.shape[1] <= _MOST_PIXELS, pixels.shape
    assert mpp is None or 0 < mpp < np.inf, mpp
    assert all(text.isprintable() for text in (source, *notes)), (source, notes)


def _read_labels(path: Path) -> Any:
    from nucseg_jax.evaluation import external

    return external.read(path, (seeds.SIDE, seeds.SIDE))


def _check_labels(result: Any, _: Sequence[Any]) -> None:
    assert result.dtype == np.int32 and result.shape == (seeds.SIDE, seeds.SIDE), (result.dtype, result.shape)
    assert result.min() >= 0


def _read_annotations(path: Path) -> Any:
    from data_prep.label_files import read_labels

    return read_labels(path, (seeds.SIDE, seeds.SIDE), mpp=0.25)


def _check_annotations(result: Any, originals: Sequence[Any]) -> None:
    _check_labels(result.labels, originals)
    found = np.unique(result.labels)
    assert len(found) <= found[-1] + 1, found
    assert all(count > 0 for counts in (result.skipped, result.told) for count in counts.values())
    if result.unannotated is None:
        assert found[-1] > 0, "neither a nucleus nor a region"
    else:
        assert result.unannotated.dtype == bool and result.unannotated.shape == result.labels.shape
        assert result.unannotated.any() and not result.unannotated.all()


def _read_manifest(path: Path) -> Any:
    from data_prep import manifest

    return manifest.load(path)


def _check_manifest(result: Any, _: Sequence[Any]) -> None:
    ids = [entry.id for entry in result.images]
    assert ids and len(set(ids)) == len(ids) and "train" in result.splits
    texts = [
        result.name,
        result.stain_target,
        *(text for entry in result.images for text in entry.to_json().values()),
    ]
    assert all(isinstance(text, str) for text in texts)
    assert all(Path(text).name == text and text.isprintable() for text in ids), ids


def _read_packed(path: Path) -> Any:
    from nucseg_jax.data import packed

    return packed.read(path)


def _read_sharded(path: Path) -> Any:
    """With the training images that a start of training does not read."""
    from dataclasses import replace

    from nucseg_jax.data import packed

    dataset = packed.read(path)
    splits = {split: [e.loaded() for e in examples] for split, examples in dataset.splits.items()}
    return replace(dataset, splits=splits)


def _check_packed(result: Any, originals: Sequence[Any]) -> None:
    assert isinstance(result.metadata, dict) and result.mpp > 0 and result.prepared_mpp > 0
    known = next(iter(originals[0].splits.values()))[0]
    examples = [example for split in result.splits.values() for example in split]
    assert examples
    for example in examples:  # what the digests vouch for
        assert example.image.tobytes() == known.image.tobytes() and example.image.shape == known.image.shape
        for labels in (example.label_map, example.original_label_map):
            assert labels.dtype == np.int32 and labels.tobytes() == known.label_map.tobytes()


def _read_prepared(path: Path) -> Any:
    from nucseg_jax.data import tfds

    return tfds.read(path, "folder/synthetic_none")


def _check_prepared(result: Any, originals: Sequence[Any]) -> None:
    known = {e.id: e for split in originals[0].splits.values() for e in split}
    for example in (e for split in result.splits.values() for e in split):
        assert example.image.tobytes() == known[example.id].image.tobytes()
        assert example.label_map.tobytes() == known[example.id].label_map.tobytes()


def _prepare_again(path: Path) -> Any:
    from data_prep import folder

    below = path.parent if (path.parent / "source").exists() else path.parent.parent / "whole"
    options: dict[str, Any] = dict.fromkeys(("manifest_file", "size", "mpp", "white", "stain_target"))
    options |= {"test": (), "no_test": False, "stain": "none", "stain_backend": "jax", "overwrite": False}
    folder.prepare([below / "source"], path, name="synthetic", **options)
    return "is there already"


def _check_prepared_again(result: Any, _: Sequence[Any]) -> None:
    assert result == "is there already"  # and nothing was written, which is seen for every reader


def _read_config(path: Path) -> Any:
    from nucseg_jax import config

    name, experiment = config.load(str(path))
    try:
        config.check_values(experiment, 1)
    except ValueError as error:  # of which the message names the setting
        raise type(error)(f"{path}: {error}") from error
    return experiment


def _check_config(result: Any, _: Sequence[Any]) -> None:
    assert result.batch_size >= 1 and result.data.crop_size >= 16


def _read_overrides(path: Path) -> Any:
    from nucseg_jax import config

    arguments = path.read_bytes().decode("utf-8", "replace").replace("\0", "").splitlines()
    experiment = config.get_config()
    config.apply(
        experiment, config.read_values(config.read_pairs(arguments, "--set KEY=VALUE"), "--set "), "--set "
    )
    config.check_values(experiment, 1)
    return experiment


def _read_expression(path: Path) -> Any:
    from nucseg_jax.evaluation.ensemble import parsing

    return parsing.parse(
        path.read_bytes().decode("utf-8", "replace"), ("unet", "fcn8", "psp_segnet", "self_correction")
    )


def _check_expression(result: Any, _: Sequence[Any]) -> None:
    from nucseg_jax.evaluation.ensemble import parsing

    names = ("unet", "fcn8", "psp_segnet", "self_correction")
    assert result.models and set(result.models) <= set(names)
    assert parsing.parse(str(result), names) == result


def _read_run(path: Path) -> Any:
    from nucseg_jax import devices, runs

    return runs.open_run(path, devices.make_mesh(), {})


def _check_run(result: Any, originals: Sequence[Any]) -> None:
    from nucseg_jax.runs.restoring import parameter_digest

    digests = {parameter_digest(found.model.weights._asdict()) for found in (result, originals[0])}
    assert len(digests) == 1, "other weights than those that were written"
    assert result.model.info == originals[0].model.info
    assert 0 < result.config.instances[result.config.instances.method].threshold < 1


def _read_tuning(path: Path) -> Any:
    from nucseg_jax.runs import tuned

    return tuned.read(path)


def _check_tuning(result: Any, _: Sequence[Any]) -> None:
    assert result.best in result.parameters and isinstance(result.model, str)
    for values in result.parameters.values():
        assert all(np.isfinite(value) for value in values.values()), values


def _read_stain_record(path: Path) -> Any:
    from nucseg_jax.recolour.record import read_target

    return read_target(path, None)


def _check_stain_record(result: Any, _: Sequence[Any]) -> None:
    assert all(np.isfinite(np.asarray(values)).all() for values in result.normalizer.target), (
        result.normalizer.target
    )
    assert isinstance(result.name, str) and result.image is None


def _read_weights(path: Path) -> Any:
    from nucseg_jax import pretrained

    return pretrained.load(path)


def _check_weights(result: Any, originals: Sequence[Any]) -> None:
    known = originals[0]
    assert (result.name, result.step, result.info) == (known.name, known.step, known.info)
    assert {key: values.tobytes() for key, values in result.tensors.items()} == {
        key: values.tobytes() for key, values in known.tensors.items()
    }


def _predict(path: Path) -> Any:
    """What a model's network says of 64×64 pixels; its file has a right digest of what was damaged."""
    from nucseg_jax import Segmenter, pretrained
    from nucseg_jax.errors import UserError
    from nucseg_jax.slides import slide_of_array

    try:
        info = json.loads(path.read_bytes())
        if not isinstance(info, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no object of JSON. Give one") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{path.name}.safetensors"
        pretrained.write(file, "mine", info, 7, seeds.model_tensors())
        with Segmenter.from_pretrained(file) as segmenter:
            pixels = seeds.tissue()[:64, :64]
            with slide_of_array(pixels, segmenter.magnification.network_mpp) as slide:
                return segmenter.nucleus_map(slide).nucleus


def _check_predicted(result: Any, _: Sequence[Any]) -> None:
    assert result.shape == (64, 64) and np.isfinite(result).all(), result.shape
    assert 0 <= result.min() <= result.max() <= 1, (result.min(), result.max())


def _read_torch(path: Path) -> Any:
    from nucseg_jax.torch_bridge.checkpoints import read_state_dict
    from nucseg_jax.torch_bridge.weights import as_array

    return {key: as_array(value) for key, value in read_state_dict(path).items()}


def _check_torch(result: Any, _: Sequence[Any]) -> None:
    assert result and all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in result.items()
    )


def _read_refined(path: Path) -> Any:
    from nucseg_jax.data.dataset import Example
    from nucseg_jax.training import refined_labels

    example = Example("a", "liver", seeds.tissue(), seeds.labels(), None, seeds.labels())
    return refined_labels.read(path.parent, [example], ("soft_classes", "soft_edges"))["a"]


def _check_refined(result: Any, _: Sequence[Any]) -> None:
    for values in result.values():
        assert values.dtype == np.float16 and values.shape == (seeds.SIDE, seeds.SIDE, 2), (
            values.dtype,
            values.shape,
        )
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1


def _read_list(path: Path) -> Any:
    from nucseg_jax.predict.jobs import read_list

    return read_list(path)


def _check_list(result: Any, _: Sequence[Any]) -> None:
    assert all(isinstance(path, Path) and str(path).strip() for path in result)


def _read_result(path: Path) -> Any:
    from nucseg_jax.predict.results import request_of

    return request_of(path)


def _check_result(result: Any, _: Sequence[Any]) -> None:
    assert result is None or isinstance(result, dict), result


def _read_curves(path: Path) -> Any:
    from ml_collections import ConfigDict

    from nucseg_jax import runs

    return runs.Run(path.parent, ConfigDict({"step": 2}), ConfigDict(), "the config").curves()


def _check_curves(result: Any, _: Sequence[Any]) -> None:
    for record in result:  # a loss may be infinite or NaN: those of early releases are
        assert all(isinstance(key, str) and isinstance(value, (int, float)) for key, value in record.items())
        assert [float(value) for value in record.values()], record


READERS = {
    reader.name: reader
    for reader in (
        Reader("png", seeds.png, _read_slide, _check_slide),
        Reader("jpeg", seeds.jpeg, _read_slide, _check_slide),
        Reader("tiff", seeds.tiff, _read_slide, _check_slide),
        Reader("ome-tiff", seeds.ome_tiff, _read_slide, _check_slide),
        Reader("ome-zarr", seeds.ome_zarr, _read_slide, _check_slide, in_suite=80, needs="zarr"),
        Reader("svs", seeds.svs, _read_slide, _check_slide),
        Reader("other-images", seeds.other_images, _read_slide, _check_slide),
        Reader("images-for-training", seeds.images, _read_image, _check_image),
        Reader("png-labels", seeds.png_labels, _read_labels, _check_labels),
        Reader("tiff-labels", seeds.tiff_labels, _read_labels, _check_labels),
        Reader("npy-labels", seeds.npy_labels, _read_labels, _check_labels),
        Reader("mat-labels", seeds.mat_labels, _read_labels, _check_labels),
        Reader("annotations", seeds.annotations, _read_annotations, _check_annotations, needs="pycocotools"),
        Reader("manifest", seeds.manifest, _read_manifest, _check_manifest),
        Reader("packed-dataset", seeds.packed_dataset, _read_packed, _check_packed),
        Reader("sharded-dataset", seeds.sharded_dataset, _read_sharded, _check_packed, needs="array_record"),
        Reader(
            "prepared-dataset",
            seeds.prepared_dataset,
            _read_prepared,
            _check_prepared,
            in_suite=0,  # TensorFlow takes ten seconds to start
            needs="tensorflow_datasets",
        ),
        Reader(
            "prepared-again",
            seeds.prepared_root,
            _prepare_again,
            _check_prepared_again,
            in_suite=0,
            needs="tensorflow_datasets",
        ),
        Reader("config", seeds.experiments, _read_config, _check_config),
        Reader(
            "overrides",
            seeds.overrides,
            _read_overrides,
            _check_config,
            subject=r"--set |^[a-z_]+(\.[a-z_]+)* ",
        ),
        Reader(
            "ensemble",
            seeds.expressions,
            _read_expression,
            _check_expression,
            subject="ensemble",
            most_lines=3,
        ),
        Reader("checkpoint", seeds.run, _read_run, _check_run, in_suite=20),
        Reader("tuning", seeds.tuning, _read_tuning, _check_tuning),
        Reader("stain-record", seeds.stain_records, _read_stain_record, _check_stain_record),
        Reader("weights", seeds.weights, _read_weights, _check_weights),
        Reader(
            "model",
            seeds.model_info,
            _predict,
            _check_predicted,
            in_suite=20,  # some compile
            subject=r"model\.json|^[a-z_]+(\.[a-z_]+)+ ",
        ),
        Reader("pytorch", seeds.torch_files, _read_torch, _check_torch, needs="torch"),
        Reader("refined-labels", seeds.refined_labels, _read_refined, _check_refined),
        Reader("list-of-slides", seeds.slide_list, _read_list, _check_list),
        Reader("finished-result", seeds.result, _read_result, _check_result),
        Reader("curves", seeds.curves, _read_curves, _check_curves),
    )
}
