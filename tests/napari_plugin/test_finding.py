"""What the widget's thread does; napari is not needed for it."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from nucseg_jax import Segmenter, UserError, sample
from nucseg_jax.napari_plugin.finding import Found, find


def test_it_finds_what_a_segmenter_finds_and_measures_it() -> None:
    image = sample(0.5)
    parts, found = _run(find("he-fast", image, 0.5, "typed in", "skin", _never))
    expected = Segmenter.from_pretrained("he-fast")(image, mpp=0.5)
    assert expected.max() > 100
    np.testing.assert_array_equal(found.label_map, expected)
    assert found.label_map.dtype == np.int32
    assert parts[0] == 0 and parts == sorted(parts)
    ids, counts = np.unique(expected[expected > 0], return_counts=True)
    np.testing.assert_array_equal(found.features["index"], ids)
    np.testing.assert_allclose(found.features["area_um2"], counts * 0.25)
    assert ((found.features["probability"] > 0.3) & (found.features["probability"] <= 1)).all()
    assert found.made_with["model"] == "he-fast" and found.made_with["mpp"] == 0.5
    assert found.made_with["mpp_source"] == "typed in" and len(found.made_with["params_sha256"]) == 64
    assert found.notes == ()


def test_nothing_to_find_and_what_is_said_of_it() -> None:
    pen = np.full((64, 64, 3), (60, 160, 60), np.uint8)
    _, found = _run(find("he-fast", pen, None, "the model's own", "pen", _never))
    assert not found.label_map.any() and found.features == {}
    assert found.made_with["mpp"] == 0.5  # he-fast's
    (note,) = found.notes
    assert note.startswith("pen: masked as no tissue, by colour: pen 100.00% of the slide")


def test_what_is_refused_names_the_layer() -> None:
    floats = np.full((64, 64, 3), 2.0)
    with pytest.raises(UserError, match="^skin: .*floats are taken from 0 to 1"):
        _run(find("he-fast", floats, 0.5, "typed in", "skin", _never))
    with pytest.raises(UserError, match="no model 'hee' is installed: did you mean he"):
        _run(find("hee", floats, 0.5, "typed in", "skin", _never))


def test_it_ends_where_it_is_cancelled() -> None:
    parts, found = _run(find("he-fast", sample(0.5), 0.5, "typed in", "skin", lambda: True))
    assert parts == [0.0] and found is None


def _never() -> bool:
    return False


def _run(finding: Generator[float, None, Found | None]) -> tuple[list[float], Any]:
    """What it yields, and what it returns."""
    parts = []
    while True:
        try:
            parts.append(next(finding))
        except StopIteration as end:
            return parts, end.value
