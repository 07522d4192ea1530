"""The comparison of outlines: what is scored against what, and the clump that is shown."""

import numpy as np
from numpy.typing import NDArray

from benchmarks import outlines
from nucseg_jax.evaluation.search import Scene, Setting
from nucseg_jax.nuclei import Frame
from tests.instances.drawn import TOUCHING, discs
from tests.instances.test_polar import deep

SETTING = Setting(
    "depth", {"threshold": 0.5, "h": 0.2, "smoothing_um": 1.0, "min_area_um2": 0.0}, aji=0, pq=0, seconds=0
)


def scene(truth: NDArray[np.int32]) -> Scene:
    """A micrometre a pixel, of a network that knows the truth."""
    return Scene(deep(truth), Frame(truth.shape, 1.0, 1.0), truth)


def test_a_row_a_method_with_its_difference_to_depth() -> None:
    scenes = [scene(TOUCHING), scene(discs((30, 28, 13), (30, 50, 13)))]
    joined = Setting("components", {"threshold": 0.5, "min_area_um2": 0.0}, aji=0, pq=0, seconds=0)
    methods = {
        "depth": outlines.by_setting(SETTING),
        "joined": outlines.by_setting(joined),
        outlines.REFINED: outlines.refined(SETTING, smoothing_um=1.0, rise=0.1),
    }
    depth, other, refined = outlines.compared(scenes, methods)
    assert depth["method"] == "depth" and depth["minus"]["aji"] is None
    assert depth["aji"]["mean"] > 0.98 and refined["aji"]["mean"] > 0.95
    assert other["images"][1]["pq"] < 0.4 and other["dice"]["mean"] == 1
    assert other["minus"]["aji"]["losses"] == 2
    assert other["minus"]["aji"]["mean"] == other["aji"]["mean"] - depth["aji"]["mean"]
    assert all(row["seconds_a_megapixel"] > 0 for row in (depth, other, refined))
    assert all(cell(row) for row in (depth, other) for cell in outlines.COLUMNS.values())


def test_the_clump_of_most_nuclei_that_fits_is_shown() -> None:
    truth = np.zeros((300, 400), np.int32)
    truth[:250, 300:] = np.where(np.arange(250)[:, None] < 125, 1, 2)  # two, and too high
    truth[200:260, 40:120] = np.where(TOUCHING > 0, TOUCHING + 2, 0)
    truth[20:28, 20:28] = 9
    rows, columns = outlines.clump(truth)
    assert {3, 4, 5} <= set(np.unique(truth[rows, columns]))
    assert rows.stop - rows.start == columns.stop - columns.start == outlines.CLUMP_PX
    image = np.full((*truth.shape, 3), 200, np.uint8)
    drawn = outlines.picture(image, scene(truth), {"depth": outlines.by_setting(SETTING)})
    assert drawn.shape == (4 * outlines.CLUMP_PX + 28, 4 * outlines.CLUMP_PX, 3)
    for colour in ((255, 230, 0), (0, 229, 255)):  # truth and found
        assert (drawn == colour).all(axis=2).any()
