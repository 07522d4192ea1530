"""Soft labels: of annotations, of a network, in files."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nucseg_jax import devices
from nucseg_jax.data.dataset import Example
from nucseg_jax.errors import DataError
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.models.ce2p import Branches
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.training import refined_labels
from nucseg_jax.training.refined_labels import LabelPredictor

NAMES = ("soft_classes", "soft_edges")


def example(name: str, height: int, width: int) -> Example:
    """An image of which the right half is one nucleus."""
    label_map = np.zeros((height, width), np.int32)
    label_map[:, width // 2 :] = 1
    image = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Example(name, "breast", image, label_map, image, label_map)


EXAMPLES = [example("a", 40, 56), example("bb", 48, 32)]


def test_the_annotation_is_one_hot() -> None:
    labels = refined_labels.annotated(EXAMPLES, 3, NAMES)
    classes, edges = (labels["a"][name] for name in NAMES)
    assert classes.shape == (40, 56, 3) and edges.shape == (40, 56, 2)
    assert classes.dtype == edges.dtype == np.float16
    row = classes[20].argmax(-1)
    assert row.tolist() == [0] * 28 + [2, 2] + [1] * 26, "background, boundary, inside"
    assert edges[20].argmax(-1).tolist() == [0] * 26 + [1] * 4 + [0] * 26
    assert set(np.unique(classes)) == {0, 1} and (classes.sum(-1) == 1).all()
    assert refined_labels.annotated(EXAMPLES, 3, NAMES[:1])["bb"].keys() == {"soft_classes"}


class Three(nnx.Module):
    """Branches that say of each pixel what its red, green and blue are."""

    def __init__(self) -> None:
        self.scale = nnx.Param(jnp.ones(()))

    def branches(self, images: jax.Array) -> Branches:
        zeros, scale = jnp.zeros(images.shape[:-1]), self.scale[...]
        red, green, blue = (jnp.stack([zeros, scale * images[..., i]], axis=-1) for i in range(3))
        return Branches(parsing=red, edge=green, fusion=blue)


def test_labels_are_of_fusion_and_edges_whatever_the_size() -> None:
    network, params, statistics = split_network(Three())
    predict = LabelPredictor(
        network,
        devices.make_mesh(),
        num_classes=2,
        names=NAMES,
        tilings=[Tiling(32, blend=8)],
        batch_px=8 * 32**2,
    )
    for e in EXAMPLES:
        found = predict(Weights(params, statistics), e.image)
        assert found["soft_classes"].dtype == np.float32
        for name, channel in (("soft_classes", 2), ("soft_edges", 1)):
            expected = jax.nn.sigmoid(e.image[..., channel] / 255.0)
            np.testing.assert_allclose(found[name][..., 1], expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found[name].sum(-1), 1, rtol=1e-5, atol=0)


def test_changed_counts_pixels_of_another_class() -> None:
    labels = {i: dict(arrays) for i, arrays in refined_labels.annotated(EXAMPLES, 2, NAMES[:1]).items()}
    assert refined_labels.changed(labels, EXAMPLES, 2) == 0
    labels["a"] = {"soft_classes": labels["a"]["soft_classes"].copy()}
    labels["a"]["soft_classes"][:10] = labels["a"]["soft_classes"][:10, :, ::-1]
    assert refined_labels.changed(labels, EXAMPLES, 2) == pytest.approx((10 / 40) / 2)


def test_labels_are_read_as_written_or_refused(tmp_path: Path) -> None:
    labels = refined_labels.annotated(EXAMPLES, 2, NAMES)
    folder = tmp_path / "labels/cycle_1"
    for _ in range(2):
        refined_labels.write(labels, folder)
    assert {p.name for p in folder.parent.iterdir()} == {"cycle_1"}
    found = refined_labels.read(folder, EXAMPLES, NAMES)
    for i, arrays in labels.items():
        for name in NAMES:
            np.testing.assert_array_equal(found[i][name], arrays[name])
    path = re.escape(str(folder / "bb.npz"))
    other = [EXAMPLES[0], example("bb", 32, 32)]
    with pytest.raises(DataError, match=f"{path}: is of an image of 48×32 pixels, bb has 32×32"):
        refined_labels.read(folder, other, NAMES)
    (folder / "bb.npz").write_bytes((folder / "bb.npz").read_bytes()[:200])
    with pytest.raises(DataError, match=f"{path}: these refined labels cannot be read"):
        refined_labels.read(folder, EXAMPLES, NAMES)
    refined_labels.write({"bb": {"soft_classes": labels["bb"]["soft_classes"]}}, folder)
    with pytest.raises(DataError, match="soft_edges"):
        refined_labels.read(folder, EXAMPLES[1:], NAMES)
    kept = tmp_path / "labels/cycle_2"
    refined_labels.write(labels, kept)
    (tmp_path / "labels/cycle_3.17.tmp").mkdir()
    refined_labels.delete_others(tmp_path / "labels", {kept})
    assert list((tmp_path / "labels").iterdir()) == [kept]


def test_changed_counts_annotated_pixels_only() -> None:
    partly = [replace(EXAMPLES[0], unannotated=np.arange(40)[:, None] >= np.full((1, 56), 20))]
    labels = refined_labels.annotated(partly, 2, NAMES[:1])
    turned = labels["a"]["soft_classes"].copy()
    turned[10:] = turned[10:, :, ::-1]
    assert refined_labels.changed({"a": {"soft_classes": turned}}, partly, 2) == pytest.approx(0.5)
