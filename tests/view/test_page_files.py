"""The page's own files: all that one names is there, and nothing comes from elsewhere."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from nucseg_jax import view

PAGE = Path(view.__file__).with_name("page")
SCRIPTS = sorted(path.relative_to(PAGE).as_posix() for path in (PAGE / "js").glob("*.js"))
OWN = [
    "index.html",
    *SCRIPTS,
    *sorted(path.relative_to(PAGE).as_posix() for path in (PAGE / "css").glob("*")),
]


def named_by(path: str) -> list[str]:
    """What a file of the page names, relative to the page."""
    text = (PAGE / path).read_text(encoding="utf-8")
    if path.endswith(".html"):
        return re.findall(r'(?:src|href)="([^"]+)"', text)
    return [f"js/{name}" for name in re.findall(r'(?:from |new URL\()"(?:\./)?([\w]+\.js)"', text)]


@pytest.mark.parametrize("path", ["index.html", *SCRIPTS])
def test_what_is_named_is_served(client: TestClient, path: str) -> None:
    kinds = {".js": "javascript", ".css": "css", ".svg": "svg"}
    for name in named_by(path):
        answer = client.get(name)
        assert answer.status_code == 200, name
        assert kinds[Path(name).suffix] in answer.headers["content-type"]


def test_every_script_is_used() -> None:
    used = {name for path in ["index.html", *SCRIPTS] for name in named_by(path)}
    assert used >= set(SCRIPTS)


@pytest.mark.parametrize("path", OWN)
def test_nothing_comes_from_elsewhere(path: str) -> None:
    """SVG's namespace is a name, and is fetched by nobody."""
    text = (PAGE / path).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//[a-z]+\.[a-z]", text)


def test_openseadragon_comes_with_its_licence() -> None:
    folder = PAGE / "vendor" / "openseadragon"
    assert (folder / "openseadragon.min.js").read_text(encoding="utf-8").startswith("//! openseadragon 6.1.1")
    assert "CodePlex" in (folder / "LICENSE.txt").read_text(encoding="utf-8")


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_text_can_be_read(theme: int) -> None:
    """The contrast of all text on all that it lies on, light and dark, is 4.5 or more (WCAG 2.2, 1.4.3)."""
    text = (PAGE / "css/theme.css").read_text(encoding="utf-8").split("}")[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))
    pairs = [
        (front, back)
        for front in ("text", "quiet", "accent", "warning", "error")
        for back in ("ground", "panel", "raised", "glass")
    ]
    for front, back in [*pairs, ("on-accent", "accent")]:
        low, high = sorted(luminance(colours[name]) for name in (front, back))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)
