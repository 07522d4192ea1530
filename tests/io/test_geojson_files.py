"""Features as the versions of QuPath and other programs write them; areas are tested with their readers."""

import json
from pathlib import Path
from typing import Any

import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.io import geojson_files
from nucseg_jax.io.geojson_files import Feature, read_features

POINT = {"type": "Point", "coordinates": [1, 2]}


def features_of(tmp_path: Path, *documents: Any) -> list[Feature]:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(documents), encoding="utf-8")
    return read_features(path)[0]


@pytest.mark.parametrize(
    ("properties", "more", "kind", "name", "classification"),
    [
        ({"objectType": "detection"}, {}, "detection", "", ""),
        ({"objectType": "tmaCore", "name": " A-1 "}, {}, "tmaCore", "A-1", ""),
        ({"object_type": "tma_core"}, {}, "tmaCore", "", ""),
        ({"object_type": "cell", "classification": {"name": "Tumor: +"}}, {}, "cell", "", "Tumor: +"),
        ({"classification": {"names": ["Tumor", "Positive"]}}, {}, "annotation", "", "Tumor: Positive"),
        ({"classification": "Region*"}, {}, "annotation", "", "Region*"),
        ({"isLocked": True}, {"id": "PathCellObject"}, "cell", "", ""),
        ({"isLocked": True}, {"id": "PathTileObject"}, "tile", "", ""),
        ({"type": "tile"}, {"id": 7}, "tile", "", ""),
        ({"type": "neoplastic"}, {}, "annotation", "", ""),
        ({"objectType": ["cell"], "name": 3, "classification": [1]}, {}, "annotation", "", ""),
        (None, {}, "annotation", "", ""),
    ],
)  # fmt: skip
def test_kinds_names_and_classes(
    tmp_path: Path, properties: Any, more: dict[str, Any], kind: str, name: str, classification: str
) -> None:
    document = {"type": "Feature", "geometry": POINT, "properties": properties, **more}
    expected = Feature(1, kind, name, classification, POINT)
    assert features_of(tmp_path, document) == [expected]


def test_objects_below_others_come_after_them(tmp_path: Path) -> None:
    def feature(name: str, **more: Any) -> dict[str, Any]:
        return {"type": "Feature", "geometry": None, "properties": {"name": name, **more}}

    nested = feature("a", childObjects=[feature("b", children=[feature("c")]), feature("d")])
    found = features_of(tmp_path, nested, feature("e"))
    assert [(each.number, each.name) for each in found] == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
    assert found[1].label == "feature 2 (b)"


def test_a_text_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson_files, "_LARGEST", 2**10)
    assert len(features_of(tmp_path, *[POINT] * 20)) == 20
    with pytest.raises(DataError, match=r"a\.geojson: holds more than 0 MiB of text"):
        features_of(tmp_path, *[POINT] * 40)
