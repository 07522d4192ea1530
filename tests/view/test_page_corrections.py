"""Corrections in a browser: what is saved is what is shown, whatever happens at the same time."""

import math
import re
from itertools import combinations

import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

from playwright.sync_api import expect

from tests.view.driven_page import MARKS, PLACES, click, shown

pytestmark = MARKS

STATUS = "#correct [role=status]"


def saved(page) -> dict:
    """What the server has, once the page has nothing to save."""
    expect(page.locator(STATUS)).not_to_contain_text(re.compile("not saved yet|saving"))
    result = page.evaluate("location.hash.split('=')[1]")
    found = page.request.get(page.url.split("#")[0] + f"api/results/{result}/corrections").json()
    return {name: found[name] for name in ("removed", "added", "regions")}


def neighbours(page) -> tuple[dict, dict]:
    """The two nuclei that are nearest to each other."""
    pairs = combinations(page.evaluate(PLACES), 2)
    return min(pairs, key=lambda pair: math.dist(pair[0]["inside"], pair[1]["inside"]))


@pytest.fixture
def correcting(page):
    """The page, correcting the second result, from a known start."""
    page.get_by_role("button", name="second").click()
    expect(page.locator("#title")).to_have_text("second")
    shown(page)
    page.keyboard.press("e")
    expect(page.locator(STATUS)).to_contain_text("correction")
    return page


def test_undoing_all_gives_the_start_and_redoing_all_the_end(correcting):
    page, start = correcting, saved(correcting)
    one, other = neighbours(page)
    click(page, one)
    page.keyboard.down("Shift")
    click(page, other)
    page.keyboard.up("Shift")
    page.keyboard.press("m")
    page.keyboard.press("m")  # while the first is on its way
    expect(page.locator(STATUS)).to_contain_text("1 correction")
    merged = saved(page)
    assert [sorted(drawn["replaces"]) for drawn in merged["added"]] == [sorted([one["id"], other["id"]])]
    page.keyboard.press("Shift+K")
    third = next(place for place in page.evaluate(PLACES) if place["id"] not in (one["id"], other["id"]))
    click(page, third)
    page.keyboard.press("Delete")
    end = saved(page)
    assert len(end["regions"]) == 1 and third["id"] in end["removed"]
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert saved(page) == start
    for _ in range(3):
        page.keyboard.press("Control+y")
    assert saved(page) == end
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert saved(page) == start


def test_the_words_of_a_region_do_not_remove_it(correcting):
    page = correcting
    page.keyboard.press("Shift+K")
    page.get_by_text("Region 1").click(position={"x": 5, "y": 5})
    assert len(saved(page)["regions"]) == 1
    page.get_by_role("button", name="Remove Region 1").click()
    assert saved(page)["regions"] == []


@pytest.mark.parametrize(("answer", "stays"), [("Those of this tab", 0), ("Those of the other tab", 1)])
def test_two_tabs_ask_whose_corrections_stay(correcting, answer, stays):
    page = correcting
    first, second, *_ = page.evaluate(PLACES)
    other = page.context.new_page()
    other.goto(page.url)
    shown(other)
    other.keyboard.press("e")
    expect(other.locator(STATUS)).to_contain_text("correction")
    click(other, second)
    other.keyboard.press("Delete")
    assert second["id"] in saved(other)["removed"]
    other.close()
    page.bring_to_front()
    click(page, first)
    page.keyboard.press("Delete")
    page.get_by_role("button", name=answer).click()
    wanted = [first["id"], second["id"]][stays]
    assert saved(page)["removed"] == [wanted]
    page.reload()
    shown(page)
    page.keyboard.press("e")
    click(page, [second, first][stays])
    page.keyboard.press("Delete")  # goes on from what stayed
    assert saved(page)["removed"] == [wanted, [second, first][stays]["id"]]
    page.keyboard.press("Control+z")
    click(page, [first, second][stays])  # is not there any more
    expect(page.get_by_role("button", name="Delete")).to_be_disabled()
    page.evaluate(  # for the next test
        """async () => {
          const path = `api/results/${location.hash.split("=")[1]}/corrections`;
          const { version } = await (await fetch(path)).json();
          const body = JSON.stringify({ version, removed: [], added: [], regions: [] });
          await fetch(path, { method: "PUT", body });
        }"""
    )


def test_by_keys_the_focus_stays_in_the_panel(correcting):
    page = correcting
    click(page, page.evaluate(PLACES)[3])
    delete = page.get_by_role("button", name="Delete")
    expect(delete).to_be_enabled()
    delete.focus()
    page.keyboard.press("Enter")
    expect(delete).to_be_disabled()
    assert page.evaluate("document.activeElement.closest('#correct') !== null")
    page.keyboard.press("Control+z")
    saved(page)


def test_a_slow_click_is_a_click(correcting):
    page, place = correcting, correcting.evaluate(PLACES)[3]
    page.mouse.move(place["x"], place["y"])
    page.mouse.down()
    page.wait_for_timeout(600)
    page.mouse.up()
    expect(page.get_by_role("button", name="Delete")).to_be_enabled()
