"""Nuclei that are merged in the page."""

import json

import pytest
import shapely
from starlette.testclient import TestClient

from nucseg_jax.view.corrections.merged_outline import MOST_OUTLINES


def square(left: float, top: float, side: float) -> list[list[float]]:
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]


def merged(client: TestClient, *outlines: list[list[float]]) -> shapely.Polygon:
    answer = client.post("api/merged-outline", json={"outlines": outlines})
    assert answer.status_code == 200, answer.text
    return shapely.Polygon(answer.json()["polygon"])


def test_nuclei_that_touch_keep_their_outlines(client: TestClient) -> None:
    assert merged(client, square(0, 0, 10), square(10, 0, 10)).area == pytest.approx(200)


def test_a_gap_is_bridged(client: TestClient) -> None:
    """Three pixels between two squares: a rectangle of 10 × 3, but for its rounded ends."""
    found = merged(client, square(0, 0, 10), square(13, 0, 10))
    assert 225 < found.area <= 231
    assert found.covers(shapely.box(0, 0.1, 10, 9.9)) and found.covers(shapely.Point(11.5, 5))


def test_a_hole_between_them_is_filled(client: TestClient) -> None:
    """Two halves of a ring."""
    ring = shapely.Point(20, 20).buffer(10).difference(shapely.Point(20, 20).buffer(5))
    halves = [ring.intersection(shapely.box(*box)) for box in ((0, 0, 20, 40), (20, 0, 40, 40))]
    found = merged(client, *(shapely.get_coordinates(half.exterior)[:-1].tolist() for half in halves))
    assert found.area == pytest.approx(shapely.Point(20, 20).buffer(10).area)


def test_nuclei_far_apart_are_not_merged(client: TestClient) -> None:
    answer = client.post("api/merged-outline", json={"outlines": [square(0, 0, 10), square(100, 0, 10)]})
    assert answer.status_code == 422
    assert answer.json()["error"] == "the nuclei are too far apart to be merged: draw the outline instead"


@pytest.mark.parametrize(
    "outlines",
    [
        None,
        [],
        [square(0, 0, 1)],
        [square(0, 0, 1)] * (MOST_OUTLINES + 1),
        [square(0, 0, 1), [[0, 0], [1, 1]]],
        [square(0, 0, 1), "abc"],
        [square(0, 0, 1), [[0, 0], [1, "x"], [1, 1]]],
        [square(0, 0, 1), [[0, 0], [1, 1], [2, 2]]],
        [square(0, 0, 1), [[0, 0], [1e400, 1], [2, 2]]],
    ],
)
def test_what_are_no_outlines_is_refused(client: TestClient, outlines: object) -> None:
    answer = client.post(
        "api/merged-outline",
        content=json.dumps({"outlines": outlines}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422 and "outline" in answer.json()["error"]
