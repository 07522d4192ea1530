"""A page in Debian's chromium, driven by Playwright: what its tests share."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium")
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]

PLACES = """async () => {
  const item = OpenSeadragon.getViewer(document.querySelector(".slide")).world.getItemAt(0);
  const { results } = await (await fetch("api/library")).json();
  const id = location.hash.split("=")[1] ?? results[0].id;
  const answer = await fetch(`api/results/${id}/nuclei?x=0&y=0&w=400&h=6000`);
  const bytes = await answer.arrayBuffer();
  const count = new Uint32Array(bytes, 0, 8)[2];
  const ids = new Int32Array(bytes, 32, count);
  const centroids = new Float32Array(bytes, 32 + 8 * count, 2 * count);
  const { left, top } = document.querySelector(".slide").getBoundingClientRect();
  return [...ids].map((id, i) => {
    const { x, y } = item.imageToViewerElementCoordinates(
      new OpenSeadragon.Point(centroids[2 * i], centroids[2 * i + 1]));
    return { id, x: left + x, y: top + y, inside: [centroids[2 * i], centroids[2 * i + 1]] };
  });
}"""
"""Where nuclei are on the screen."""


def shown(page: Page) -> None:
    """Wait until nuclei are drawn."""
    page.wait_for_selector(".pane[data-nuclei]")


def count_of(page: Page) -> str:
    return page.locator("#right .number").first.inner_text()


def click(page: Page, place: dict, **options) -> None:
    """Click, and wait so long that the next click is not a double click."""
    page.mouse.move(place["x"], place["y"])
    page.mouse.down()
    page.mouse.up()
    page.wait_for_timeout(400)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
