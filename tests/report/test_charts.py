"""Quartiles plots: their boxes, their points, the names of these."""

import re

import numpy as np
import pytest

from nucseg_jax.report import charts


def test_charts_of_many_entries_and_images_have_all_of_them(tmp_path):
    generator = np.random.default_rng(0)
    ids = [f"image {i}" for i in range(200)]
    rows = [charts.BoxRow(f"entry {i}", "network", generator.random(200), ids) for i in range(12)]
    drawn = charts.box_plot("AJI", "AJI", rows)
    assert len(re.findall(r"<title>image \d+: ", drawn)) == 12 * 200


def test_a_box_leaves_out_what_is_far():
    box = charts.Quartiles.of(np.array([0.5, 0.52, 0.54, 0.56, 0.58, 0.42, 0.61]))
    assert (box.first, box.median, box.third) == pytest.approx((0.51, 0.54, 0.57))
    assert box.outliers.tolist() == [False] * 7  # 0.42 = 0.51 − 1.5 × 0.06
    box = charts.Quartiles.of(np.array([0.5, 0.52, 0.54, 0.56, 0.58, 0.41, 0.67]))
    assert box.outliers.tolist() == [False] * 5 + [True, True]
    assert (box.low, box.high) == (0.5, 0.58)


def test_points_do_not_hide_each_other():
    places = [0.0, 1.0, 2.0, 50.0, 51.0]
    spots = np.stack([places, charts.swarm(places, apart=6, most=14)], axis=1)
    distance = np.linalg.norm(spots[:, None] - spots[None], axis=-1)
    assert distance[np.triu_indices(5, 1)].min() >= 6
    assert np.abs(charts.swarm([0.0] * 50, apart=6, most=14)).max() <= 14


def test_ids_are_short():
    assert charts.short_id("TCGA-E2-A1B5-01Z-00-DX1") == "E2-A1B5"
    assert charts.short_id("image_7") == "image_7"
    assert len(charts.short_id("a very long name of an image.tif")) == 16
