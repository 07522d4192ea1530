"""What a browser shows when answers come late, in another order, or not at all."""

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

from playwright.sync_api import expect

from tests.view.drawn_results import write_slide
from tests.view.driven_page import MARKS, PLACES, count_of, pixels, shown

pytestmark = MARKS

CYAN = [0x14, 0xE0, 0xFF]


HOLD = """(form) => {
  const own = window.fetch;
  window.fetch = (path, options) => {
    if (!new RegExp(form).test(path)) return own(path, options);
    return new Promise((resolve, reject) => {
      window.letGo = () => {
        window.fetch = own;
        own(path, options).then(resolve, reject);
      };
    });
  };
}"""


class Held:
    """A request of a page, of an address of this form, that waits until it is let go."""

    def __init__(self, page, form: str) -> None:
        self._page = page
        page.evaluate(HOLD, form)

    def wait(self) -> None:
        for _ in range(200):
            if self._page.evaluate("Boolean(window.letGo)"):
                return
            self._page.wait_for_timeout(25)
        raise AssertionError("the request has not been made")

    def let_go(self) -> None:
        self._page.evaluate("window.letGo()")
        self._page.wait_for_timeout(500)


def ids(page) -> dict[str, str]:
    address = page.url.split("#")[0] + "api/library"
    return {result["name"]: result["id"] for result in page.request.get(address).json()["results"]}


def cyan(page) -> np.ndarray:
    """Where the slide has a nucleus of one colour, bool."""
    return np.abs(pixels(page.locator(".slide").first.screenshot()) - CYAN).max(axis=-1) < 30


def test_of_two_results_the_last_one_chosen_is_shown(page):
    held = Held(page, f"api/results/{ids(page)['second']}$")
    page.get_by_role("button", name="second").click()
    held.wait()
    page.get_by_role("button", name="thin nuclei").click()
    expect(page.locator("#title")).to_have_text("thin")
    held.let_go()
    assert page.locator("#title").inner_text() == "thin" and count_of(page) == "60"
    assert page.locator(".pane").count() == 1
    assert page.url.endswith(ids(page)["thin"])


def test_a_comparison_that_is_called_off_opens_no_pane(page):
    held = Held(page, f"api/results/{ids(page)['second']}$")
    compare = page.get_by_label("Compare with")
    compare.select_option(label="second")
    held.wait()
    compare.select_option("")
    held.let_go()
    assert page.locator(".pane").count() == 1
    expect(page.get_by_label("Colour by")).to_be_enabled()


def test_a_comparison_that_is_left_does_not_colour_what_is_opened_next(page):
    held = Held(page, "api/compare")
    page.get_by_label("Compare with").select_option(label="second")
    held.wait()
    page.get_by_role("button", name="second").click()
    expect(page.locator("#title")).to_have_text("second")
    shown(page)
    held.let_go()
    assert page.locator(".pane").count() == 1
    assert cyan(page).sum() > 500
    expect(page.get_by_role("row", name="Missed")).to_have_count(0)


def test_the_density_map_is_as_its_box_says(page):
    held = Held(page, "/density$")
    page.keyboard.press("d")
    held.wait()
    page.keyboard.press("d")
    held.let_go()
    expect(page.get_by_role("checkbox", name="Density map")).not_to_be_checked()
    assert page.locator("img.density").count() == 0
    page.keyboard.press("d")
    expect(page.locator("img.density")).to_have_count(1)


def test_what_cannot_be_opened_leaves_an_empty_page_that_goes_on(page):
    gone = f"**/api/results/{ids(page)['second']}"
    page.route(gone, lambda route: route.fulfill(status=404, json={"error": "it has gone"}))
    page.get_by_role("button", name="second").click()
    expect(page.locator("#messages")).to_contain_text("it has gone")
    page.get_by_role("button", name="second").click()
    expect(page.locator("#title")).to_have_text("it could not be opened")
    expect(page.locator("#tools")).to_be_hidden()
    assert page.locator(".pane").count() == 0
    assert page.locator(".message").count() == 1  # the same is said once
    for key in ("Enter", "Shift+R", "r", "e", "h", "d", "+", "0", "ArrowLeft", "Escape"):
        page.keyboard.press(key)
    page.get_by_role("button", name="first").click()
    shown(page)
    assert count_of(page) == "60"


def test_nuclei_are_shown_of_a_slide_that_has_gone_since(page):
    page.route("**/*.dzi", lambda route: route.fulfill(status=404, body=""))
    page.get_by_role("button", name="second").click()
    expect(page.locator("#messages")).to_contain_text("the slide cannot be shown")
    shown(page)
    assert cyan(page).sum() > 500


def test_each_result_that_is_left_takes_its_worker_along(page):
    for name in ("second", "thin nuclei", "first") * 3:
        page.get_by_role("button", name=name).click()
    shown(page)
    expect(page.locator("#title")).to_have_text("first")
    assert len(page.workers) == 1


def test_nuclei_of_a_thin_slide_are_drawn_in_their_places(page):
    page.get_by_role("button", name="thin nuclei").click()
    expect(page.locator("#title")).to_have_text("thin")
    shown(page)
    page.wait_for_timeout(500)
    top = page.locator(".slide").bounding_box()["y"]
    places = [place["y"] - top for place in page.evaluate(PLACES)]
    rows = np.flatnonzero(cyan(page).any(axis=1))
    assert len(places) == 60
    assert rows[0] == pytest.approx(min(places), abs=3) and rows[-1] == pytest.approx(max(places), abs=3)


def test_by_keys_the_focus_stays_in_the_list(page):
    page.get_by_role("button", name="second").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("second")
    assert page.evaluate("document.activeElement.textContent").startswith("second")


def test_images_that_are_refused_are_not_counted(page, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "notes.txt").write_text("no image")
    write_slide(tmp_path / "one.png")
    write_slide(tmp_path / "two.png")
    names = ("text.png", "one.png", "notes.txt", "two.png")
    page.locator("#file").set_input_files([tmp_path / name for name in names])
    messages = page.locator("#messages")
    expect(messages).to_contain_text("2 images were added")
    expect(messages).to_contain_text("text.png: is neither an image nor a slide")
    expect(messages).to_contain_text("notes.txt: is no image or slide")
    expect(page.locator("#title")).to_have_text("two.png")


def test_drawers_open_one_at_a_time_and_close(page):
    page.set_viewport_size({"width": 375, "height": 700})
    left, right = page.locator("#left"), page.locator("#right")
    buttons = [page.get_by_role("button", name=name, exact=True) for name in ("Slides and jobs", "Nuclei")]
    for button, (opened, closed) in zip(buttons, [(left, right), (right, left)], strict=True):
        button.click()
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(opened).to_be_visible()
        expect(closed).to_be_hidden()
    buttons[1].click()
    expect(right).to_be_hidden()
    buttons[1].click()
    page.keyboard.press("Escape")
    expect(right).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
