"""Nuclei of label maps as parts of an index."""

import numpy as np
import pytest
import shapely

from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.nuclei.sources import read_parts
from nucseg_jax.view.truths.label_parts import parts_of
from tests.export.drawn_nuclei import label_map_of, many
from tests.view.drawn_results import FRAME, write_result

IDS = ObjectIds.of("slide.svs", {})


@pytest.mark.parametrize("background", [0, 7])
@pytest.mark.parametrize("numbers", [(3, 9), (2**31 - 1, 5 * 10**7)])
def test_numbers_are_kept_however_large(background, numbers):
    labels = np.full((20, 30), background, np.int32)
    labels[2:6, 3:9], labels[10:12, 20:23] = numbers
    parts = list(parts_of(labels, Frame((20, 30), 0.5, 0.5), IDS))
    areas = {
        int(id_): float(area)
        for part in parts
        for id_, area in zip(part.ids, part.columns["area_um2"], strict=True)
    }
    wanted = {numbers[0]: 24 * 0.25, numbers[1]: 6 * 0.25}
    assert areas == wanted | ({7: (600 - 30) * 0.25} if background else {})


def test_nuclei_are_those_of_a_result(tmp_path):
    """The same nuclei, written by `Exports` and read from a label map: outlines and measurements."""
    nuclei = many(60, FRAME)
    (tmp_path / "any.svs").touch()
    write_result(tmp_path / "out", tmp_path / "any.svs", nuclei, formats=["parquet"])
    (wanted,) = read_parts(tmp_path / "out/nuclei.parquet", None)
    (found,) = parts_of(label_map_of(nuclei, FRAME), FRAME, IDS)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_allclose(found.centroids, wanted.centroids)
    for name, column in found.columns.items():
        np.testing.assert_allclose(column, wanted.columns[name])
    assert shapely.equals(found.outlines, wanted.outlines).all()
    assert len(set(found.object_ids.tolist())) == 60


def test_no_nuclei():
    assert not list(parts_of(np.zeros((20, 30), np.int32), Frame((20, 30), 0.5, 0.5), IDS))
