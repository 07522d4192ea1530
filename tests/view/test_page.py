"""The page in a browser: Debian's chromium, driven by Playwright; skipped where one of them is missing."""

import json

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

from playwright.sync_api import expect

from tests.view.drawn_results import MPP, write_slide
from tests.view.driven_page import MARKS, PLACES, click, count_of, pixels, shown

pytestmark = MARKS


def test_nuclei_are_counted_drawn_and_hidden_by_a_key(page, server):
    assert count_of(page) == "60"
    slide = page.locator(".slide")
    with_nuclei = pixels(slide.screenshot())
    page.keyboard.press("h")
    page.wait_for_timeout(200)
    without = pixels(slide.screenshot())
    cyan = (np.abs(with_nuclei - [0x14, 0xE0, 0xFF]).max(axis=-1) < 30).sum()
    assert cyan > 500
    assert (np.abs(without - [0x14, 0xE0, 0xFF]).max(axis=-1) < 30).sum() < cyan / 20


def test_a_click_shows_the_measurements_of_that_nucleus(page, server):
    place = page.evaluate(PLACES)[20]
    click(page, place)
    card = page.locator("section", has_text=f"Nucleus {place['id']}")
    expect(card).to_be_visible()
    x, y = place["inside"]
    result = page.url.split("=")[1]
    told = page.request.get(f"{server.address}api/results/{result}/nucleus?x={x}&y={y}").json()
    area = told["measurements"]["area_um2"]
    assert f"{area:.3g}" in card.get_by_role("row", name="Area").inner_text()


def test_enter_chooses_the_nucleus_in_the_middle(page, server):
    place = page.evaluate(PLACES)[30]
    x, y = place["inside"]
    page.evaluate(
        """([x, y]) => {
          const { viewport, world } = OpenSeadragon.getViewer(document.querySelector(".slide"));
          viewport.zoomTo(viewport.getHomeZoom() * 3, undefined, true);
          viewport.panTo(world.getItemAt(0).imageToViewportCoordinates(new OpenSeadragon.Point(x, y)), true);
        }""",
        [x, y],
    )
    page.wait_for_timeout(300)
    page.keyboard.press("Enter")
    expect(page.locator("section", has_text=f"Nucleus {place['id']}")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("section", has_text=f"Nucleus {place['id']}")).to_have_count(0)


def test_a_rectangle_has_the_count_that_the_server_gives(page, server):
    places = page.evaluate(PLACES)
    left, top, width, height = page.locator(".slide").bounding_box().values()
    box = (left + 0.3 * width, top + 0.3 * height, left + 0.7 * width, top + 0.7 * height)
    page.keyboard.press("r")
    page.mouse.move(*box[:2])
    page.mouse.down()
    page.mouse.move(*box[2:], steps=4)
    page.mouse.up()
    region = page.locator("#region")
    expect(region).to_be_visible()
    inside = [p for p in places if box[0] <= p["x"] <= box[2] and box[1] <= p["y"] <= box[3]]
    assert int(region.locator(".number").inner_text()) == len(inside) > 0


def test_the_scale_bar_is_as_long_as_it_says(page, server):
    bar = page.locator(".scale-bar")
    um = float(bar.inner_text().split()[0])
    scale = page.evaluate(
        """() => OpenSeadragon.getViewer(document.querySelector(".slide")).world.getItemAt(0)
           .imageToViewerElementCoordinates(new OpenSeadragon.Point(100, 0)).x
         - OpenSeadragon.getViewer(document.querySelector(".slide")).world.getItemAt(0)
           .imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0)).x"""
    )
    assert bar.locator("i").bounding_box()["width"] == pytest.approx(um / MPP * scale / 100, abs=1)


def test_two_results_side_by_side_with_scores(page, server):
    page.get_by_label("Compare with").select_option(label="second")
    expect(page.locator(".pane")).to_have_count(2)
    section = page.locator("section", has=page.get_by_label("Compare with"))
    expect(section.get_by_role("row", name="Missed")).to_contain_text("10")
    expect(section.get_by_role("row", name="False")).to_contain_text("0")
    expect(section.get_by_role("row", name="Found by both")).to_contain_text("50")
    page.locator(".slide").first.click()
    page.keyboard.press("+")
    page.wait_for_timeout(800)
    zooms = page.evaluate(
        "[...document.querySelectorAll('.slide')].map((e) => OpenSeadragon.getViewer(e).viewport.getZoom())"
    )
    assert zooms[0] == pytest.approx(zooms[1]) and zooms[0] > 1
    page.get_by_label("Compare with").select_option("")
    expect(page.locator(".pane")).to_have_count(1)


def test_corrections_are_undone_saved_and_read_for_training(page, server, tmp_path):
    first, second, *_ = [place for place in page.evaluate(PLACES)[10:]]
    page.keyboard.press("e")
    status = page.locator("#correct [role=status]")
    expect(status).to_have_text("0 corrections")
    click(page, first)
    page.keyboard.press("Delete")
    expect(status).to_contain_text("1 correction")
    click(page, second)
    page.keyboard.press("Delete")
    page.keyboard.press("Control+z")
    expect(status).to_contain_text("1 correction, saved")
    page.keyboard.press("Shift+K")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save for training").click()
    download.value.save_as(tmp_path / "corrected.geojson")
    features = json.loads((tmp_path / "corrected.geojson").read_text())["features"]
    kinds = [feature["properties"]["objectType"] for feature in features]
    assert kinds.count("annotation") == 1 and kinds.count("detection") == 59
    page.reload()
    shown(page)
    page.keyboard.press("e")
    expect(status).to_have_text("1 correction")


def test_the_view_is_saved_as_a_picture(page, server, tmp_path):
    with page.expect_download() as download:
        page.get_by_role("button", name="This view as a picture").click()
    download.value.save_as(tmp_path / "view.png")
    picture = pixels((tmp_path / "view.png").read_bytes())
    width, height = (page.locator(".slide").bounding_box()[side] for side in ("width", "height"))
    assert picture.shape == (height, width, 3)
    assert (np.abs(picture - [0x14, 0xE0, 0xFF]).max(axis=-1) < 30).sum() > 500


def test_an_image_without_a_resolution_asks_for_it(page, server):
    page.get_by_role("button", name="other.png").click()
    expect(page.get_by_text("does not say how large its pixels are")).to_be_visible()
    page.get_by_role("button", name="Find nuclei", exact=True).click()
    assert page.get_by_label("µm per pixel").evaluate("(input) => input.validity.valueMissing")


def test_a_dropped_image_is_added(page, server, tmp_path):
    write_slide(tmp_path / "mine.png")
    page.locator("#file").set_input_files(tmp_path / "mine.png")
    expect(page.get_by_role("button", name="mine.png")).to_have_attribute("aria-current", "true")


def test_panels_are_drawers_on_a_tablet(page, server):
    page.set_viewport_size({"width": 1024, "height": 700})
    expect(page.locator("#right")).to_be_hidden()
    page.get_by_role("button", name="Nuclei").click()
    expect(page.locator("#right")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_is_the_system_s_until_it_is_chosen(page, server, scheme):
    page.emulate_media(color_scheme=scheme)
    page.reload()
    shown(page)
    theme = page.locator("html")
    expect(theme).to_have_attribute("data-theme", scheme)
    page.get_by_role("button", name="Light or dark").click()
    expect(theme).to_have_attribute("data-theme", {"light": "dark", "dark": "light"}[scheme])
