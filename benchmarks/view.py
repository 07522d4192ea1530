"""The page of `nucseg view` in a browser: how soon it is there, how fluid it is, what it holds in memory.

python -m benchmarks.view [--nuclei 100000 1000000] [--browser /usr/bin/chromium]

A drawn slide, a pyramid of JPEG tiles, is full of drawn nuclei of about 40 × 40 pixels. Chromium opens its
result, without a window and without a graphics card, 1280 × 720 pixels. "page": from the address to the list
of what is open; "tiles": from there until the whole slide is drawn; "nuclei drawn": until these are. Their
index is there then, as after a first look; "index" is what making it took. Frames a second, and the longest
time between two, are what OpenSeadragon draws in five seconds, while the view moves and zooms: with all in
view, and with some 10,000 as outlines. Memory: what the server and the page's process hold at the end.
"""

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks import files, measure
from benchmarks.drawn_slide import BLOCK_PX, MPP, DrawnReader
from benchmarks.measure import shown, shown_bytes, shown_seconds
from nucseg_jax.export import Exports
from nucseg_jax.slides import file_state

TILE_PX, SECONDS = 512, 5.0

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "nuclei": lambda r: f"{r['nuclei']:,}",
    "side": lambda r: f"{r['side_px']:,} px",
    "page": lambda r: shown_seconds(r["page_seconds"]),
    "tiles": lambda r: shown_seconds(r["tiles_seconds"]),
    "nuclei drawn": lambda r: shown_seconds(r["nuclei_seconds"]),
    "index": lambda r: shown_seconds(r["index_seconds"]),
    "frames/s, all": lambda r: shown(r["all"]["frames_per_second"]),
    "longest": lambda r: shown_seconds(r["all"]["longest_seconds"]),
    "frames/s, outlines": lambda r: shown(r["outlines"]["frames_per_second"]),
    "longest ": lambda r: shown_seconds(r["outlines"]["longest_seconds"]),
    "server": lambda r: shown_bytes(r["server_bytes"]),
    "page's memory": lambda r: shown_bytes(r["page_bytes"]),
}

MOVING = """async ([zoom, seconds]) => {
  const viewer = OpenSeadragon.getViewer(document.querySelector(".slide"));
  const { viewport } = viewer;
  viewport.zoomTo(viewport.getHomeZoom() * zoom, undefined, true);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const frames = [];
  const count = () => frames.push(performance.now());
  viewer.addHandler("update-viewport", count);
  const begin = performance.now();
  while (performance.now() - begin < seconds * 1000) {
    const part = (performance.now() - begin) / 1000;
    const { width, height } = viewport.getBounds();
    const [x, y] = [0.02 * width * Math.cos(part), 0.02 * height * Math.sin(part)];
    viewport.panBy(new OpenSeadragon.Point(x, y), true);
    viewport.zoomBy(1 + 0.01 * Math.sin(2 * part), undefined, true);
    await new Promise(requestAnimationFrame);
  }
  viewer.removeHandler("update-viewport", count);
  const gaps = frames.slice(1).map((at, i) => at - frames[i]);
  return {
    frames_per_second: (frames.length - 1) / ((frames.at(-1) - frames[0]) / 1000),
    longest_seconds: Math.max(...gaps) / 1000,
    nuclei: Number(document.querySelector(".pane").dataset.nuclei),
  };
}"""

LOADED = """() => {
  const viewer = window.OpenSeadragon?.getViewer(document.querySelector(".slide"));
  return Boolean(viewer?.world.getItemCount() && viewer.world.getItemAt(0).getFullyLoaded());
}"""


def write_slide(path: Path, side: int) -> None:
    """A TIFF with levels of 1/1, 1/4, 1/16 and 1/64."""
    reader = DrawnReader(side // BLOCK_PX)
    base = reader.levels[0]
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, level in enumerate(reader.levels):
            dots = 1e4 / (MPP * base.width / level.width)
            tiff.write(
                _tiles(reader, number),
                shape=(level.height, level.width, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                resolution=(dots, dots),
                resolutionunit="CENTIMETER",
                subifds=len(reader.levels) - 1 if number == 0 else None,
                subfiletype=1 if number else 0,
            )


def _tiles(reader: DrawnReader, number: int) -> Iterator[NDArray[np.uint8]]:
    level = reader.levels[number]
    for top in range(0, level.height, TILE_PX):
        for left in range(0, level.width, TILE_PX):
            yield np.ascontiguousarray(reader.read(number, top, left, TILE_PX, TILE_PX))


def write_result(folder: Path, slide: Path, count: int) -> int:
    """A result of drawn nuclei, and the side of its slide."""
    frame, nuclei = files.nuclei(count)
    side = math.ceil(max(frame.size) / BLOCK_PX) * BLOCK_PX
    frame = replace(frame, size=(side, side))
    write_slide(slide, side)
    asked = {"source": str(slide), "mpp": None, "white": None, "crop": True, **file_state(slide)._asdict()}
    with Exports(
        folder,
        frame,
        source=slide,
        thumbnail=np.full((100, 100, 3), 230, np.uint8),
        config={"request": asked, "run": {"instances": {"masked": []}}, "notes": []},
        seconds={},
        formats=["parquet", "density"],
    ) as exports:
        for nucleus in nuclei:
            exports.add(nucleus)
    return side


class Server:
    """`nucseg view` of some paths, until the end of a with block.

    Attributes:
      address: of the page.
      process: its own.
    """

    def __init__(self, paths: Sequence[Path], state: Path) -> None:
        command = [
            sys.executable,
            "-c",
            "from nucseg_jax.cli import script; script()",
            "view",
            *map(str, paths),
        ]
        command += ["--no-browser", "--state", str(state)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        if found is None:
            raise SystemExit("nucseg view has not started")
        self.address = found[0]

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def index_seconds(address: str) -> float:
    """Make the index of the one result, as its first look does."""
    begin = time.perf_counter()
    with urlopen(f"{address}api/library") as answer:
        (result,) = json.load(answer)["results"]
    while True:
        try:
            with urlopen(f"{address}api/results/{result['id']}"):
                return time.perf_counter() - begin
        except OSError as error:
            if getattr(error, "code", None) != 503:
                raise
            time.sleep(0.1)


def look(address: str, browser: str, count: int) -> dict[str, Any]:
    """What the page does."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        begin = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("#library .entry")
        there = time.perf_counter()
        page.wait_for_function(LOADED, polling=20)
        tiles = time.perf_counter()
        page.wait_for_selector(".pane[data-nuclei]")
        nuclei = time.perf_counter()
        row = {
            "page_seconds": there - begin,
            "tiles_seconds": tiles - there,
            "nuclei_seconds": nuclei - there,
            "all": page.evaluate(MOVING, [1.0, SECONDS]),
            "outlines": page.evaluate(MOVING, [math.sqrt(count / 10_000), SECONDS]),
            "page_bytes": _renderer_bytes(),
        }
        chromium.close()
    return row


def _renderer_bytes() -> int | None:
    """What the largest of Chromium's processes of pages holds."""
    held = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                held.append(measure.held_bytes("VmRSS", int(folder.name)) or 0)
        except OSError:
            continue  # it has ended
    return max(held, default=None)


def row(count: int, browser: str) -> dict[str, Any]:
    """The row of one result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = write_result(folder / "result", folder / "slide.tif", count)
        with Server([folder / "result"], folder / "state") as server:
            seconds = index_seconds(server.address)
            seen = look(server.address, browser, count)
            held = measure.held_bytes("VmRSS", server.process.pid)
    return {"nuclei": count, "side_px": side, "index_seconds": seconds, **seen, "server_bytes": held}


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("view", __doc__, width=None)
    parser.add_argument("--nuclei", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="Chromium's program")
    args = parser.parse_args(argv)
    if args.browser is None:
        parser.error("there is no chromium: install it, or name the program with --browser")
    env = measure.isolated(measure.environment)
    report = measure.Report("view", env, {"nuclei": args.nuclei}, COLUMNS, args.out)
    for count in args.nuclei:
        report.add(row(count, args.browser))


if __name__ == "__main__":
    main()
