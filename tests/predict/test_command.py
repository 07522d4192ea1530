"""The command: many slides, failures reported, reruns that go on, nothing half written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax import Segmenter
from nucseg_jax.cli import main as nucseg
from nucseg_jax.io.names import host
from nucseg_jax.predict import one_slide
from tests.slides.ranges import served
from tests.untrained import write_run

ROOT = Path(__file__).parents[2]
MPP = 0.25


def tissue(height: int = 70, width: int = 90) -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    image = np.tile(np.array((225, 160, 190), np.uint8), (height, width, 1))
    for top, left in random.integers(0, (height - 8, width - 8), (12, 2)):
        image[top : top + 8, left : left + 8] = (90, 60, 130)
    return image


def write_tiff(path: Path, image: NDArray[np.uint8], mpp: float = MPP) -> Path:
    tags = {"resolution": (10000 / mpp, 10000 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, photometric="rgb", tile=(32, 32), **tags)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), instances__method="components")


def predict(run: Path, out: Path, *arguments: str | Path) -> int:
    """The command in this process, in which cutting takes a thread; its exit code."""
    command_line = ["--workdir", run, "--out", out, "--workers", 0, *arguments]
    return nucseg(["predict", *map(str, command_line)])


def without_names(table: Path) -> tuple[str, ...]:
    """The rows of a nuclei.csv without the slide's name and the ids that are made of it."""
    return tuple(",".join(row.split(",")[3:]) for row in table.read_text().splitlines())


def test_slides_and_images_one_of_which_is_broken(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    write_tiff(slides / "a.tif", tissue())
    (slides / "b.svs").write_bytes(b"nothing")
    Image.fromarray(tissue()).save(slides / "c.png")
    Image.fromarray(np.full((60, 60, 3), 245, np.uint8)).save(slides / "empty.png")
    (slides / "notes.txt").write_text("no slide")

    assert predict(run, out, slides) == 1
    printed = capsys.readouterr()
    assert f"1 failed:\n  {slides / 'b.svs'}: " in printed.err and "Traceback" not in printed.err
    assert "taken to be trained at 0.25 µm a pixel" in printed.out
    assert f"{slides / 'c.png'}: no resolution in the file; taken to have 0.25" in printed.out
    assert sorted(path.name for path in out.iterdir()) == ["a", "c", "empty"]
    assert all((out / name / "nuclei.geojson").exists() for name in ("a", "c", "empty"))
    summary = json.loads((out / "a" / "summary.json").read_text())
    assert summary["slide"] == {
        "name": "a",
        "size_px": [70, 90],
        "mpp": pytest.approx(MPP),
        "network_mpp": MPP,
        "offset_px": {"x": 0, "y": 0},
    }
    assert summary["config"]["run"]["step"] == 1
    assert summary["config"]["resolution"]["slide"] == "TIFF resolution tags"
    assert set(summary["seconds"]) == {"tissue", "reading", "stain", "network", "instances", "export"}
    assert json.loads((out / "empty" / "summary.json").read_text())["nuclei"]["count"] == 0
    labels = tifffile.imread(out / "a" / "labels.tif")
    np.testing.assert_array_equal(labels, Segmenter.load(run, network_mpp=MPP)(tissue(), MPP))
    assert labels.max() == summary["nuclei"]["count"] > 0

    before = (out / "a" / "summary.json").stat().st_mtime_ns
    write_tiff(slides / "b.svs", tissue(50, 50)).rename(slides / "b.tif")
    (out / f"b.{host()}-999999999-0123abcd.tmp").mkdir()  # a process that was killed
    assert predict(run, out, slides) == 0
    assert "3 of 4 finished already" in capsys.readouterr().out
    assert (out / "a" / "summary.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in out.iterdir()) == ["a", "b", "c", "empty"]

    assert predict(run, out, slides, "--set", "instances.components.threshold=0.3") == 2
    assert "results of another slide, run or setting" in capsys.readouterr().err
    assert predict(run, out, slides / "a.tif", "--overwrite", "--mpp", "0.5", "--formats", "csv") == 0
    assert sorted(path.name for path in (out / "a").iterdir()) == ["nuclei.csv", "summary.json"]
    assert json.loads((out / "a" / "summary.json").read_text())["slide"]["mpp"] == 0.5


def test_an_ome_zarr_in_a_folder_and_at_an_address(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are found, give what the same pixels give in a TIFF, and are finished when it is given again."""
    for package in ("zarr", "aiohttp"):
        pytest.importorskip(package)
    from tests.slides.ome_zarr import drawn

    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    write_tiff(slides / "a.tif", tissue())
    drawn.write(slides / "b.ome.zarr", tissue(), um=MPP)
    with served(slides) as (place, _):
        arguments = slides, f"{place}/b.ome.zarr", "--formats", "csv"
        assert predict(run, out, *arguments) == 0
        folders = [out / name for name in ("a", "slides_b.ome", f"{place[7:].replace(':', '_')}_b.ome")]
        assert sorted(path for path in out.iterdir()) == sorted(folders)
        assert len({without_names(folder / "nuclei.csv") for folder in folders}) == 1
        summary = json.loads((folders[2] / "summary.json").read_text())
        assert summary["source"] == {"path": f"{place}/b.ome.zarr", "bytes": None, "modified": None}
        assert any("taken to be red, green" in note for note in summary["config"]["notes"])
        assert predict(run, out, *arguments) == 0
    assert "3 of 3 finished already" in capsys.readouterr().out


def test_what_is_done_about_pixels_is_said_and_stands_in_the_summary(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = np.round(tissue() / 255 * 40632).astype(np.uint16)  # no glass, at 62 % of the range
    tags = {"resolution": (10000 / MPP, 10000 / MPP), "resolutionunit": "CENTIMETER"}
    turned = [(274, 3, 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", tile=(32, 32), extratags=turned, **tags)
    out = tmp_path / "out"
    assert predict(run, out, tmp_path / "a.tif") == 1
    assert "a.tif: 16 bits a channel, brightest pixels 35,852 of 65,535 (55%)" in capsys.readouterr().err
    assert predict(run, out, tmp_path / "a.tif", "--white", "40632") == 0
    printed = capsys.readouterr().out
    notes = json.loads((out / "a" / "summary.json").read_text())["config"]["notes"]
    assert notes[0].startswith(f"{run}: taken to be trained at 0.25 µm a pixel") and len(notes) == 3
    assert notes[1].endswith("white is 40,632, as given") and notes[2].startswith("orientation tag 6")
    for line in (notes[0], *(f"{tmp_path / 'a.tif'}: {note}" for note in notes[1:])):
        assert printed.count(f"{line}\n") == 1
    found = tifffile.imread(out / "a" / "labels.tif")
    np.testing.assert_array_equal(found, Segmenter.load(run, network_mpp=MPP)(tissue(), MPP))
    assert predict(run, out, tmp_path / "a.tif", "--white", "45000") == 2
    assert "white 40632 and not 45000" in capsys.readouterr().err


def test_what_is_masked_is_said_and_stands_in_the_summary(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the picture is a black border; the density is that of the tissue itself."""
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, :256] = tissue(512, 256)
    write_tiff(tmp_path / "a.tif", image)
    everywhere = ("--set", "instances.components.threshold=0.01", "--formats", "csv", "labels")
    assert predict(run, tmp_path / "out", tmp_path / "a.tif", *everywhere) == 0
    printed = capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "a" / "summary.json").read_text())
    _, masked, kept = summary["config"]["notes"]
    assert masked.startswith("masked as no tissue") and "black 56.25% of the slide" in masked
    assert kept.startswith("kept: 1 larger than 800 µm²")
    assert all(printed.count(f"{tmp_path / 'a.tif'}: {note}\n") == 1 for note in (masked, kept))
    assert summary["implausible"] == {"too_large": 1}
    assert summary["masked"].keys() == {"pen", "black", "fill", "fold"}
    assert summary["masked"]["black"] == pytest.approx({"share": 0.5625, "area_mm2": 0.5625 * 0.128**2})
    assert summary["masked"]["pen"] == {"share": 0.0, "area_mm2": 0.0}
    assert summary["left_out"] == {"too_large": 0}
    nuclei = summary["nuclei"]
    assert nuclei["area_mm2"] == pytest.approx(0.4375 * 0.128**2)
    assert nuclei["per_mm2"] == pytest.approx(nuclei["count"] / nuclei["area_mm2"])
    labels = tifffile.imread(tmp_path / "out" / "a" / "labels.tif")
    assert labels[:, :200].any() and not labels[:, 256:].any()


def test_a_failure_that_nobody_foresaw(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tif", "b.tif"):
        write_tiff(tmp_path / name, tissue())
    original = one_slide.open_slide

    def broken(path: Path, *arguments, **options):
        if path.name == "a.tif":
            raise ZeroDivisionError("oh")
        return original(path, *arguments, **options)

    monkeypatch.setattr(one_slide, "open_slide", broken)
    out = tmp_path / "out"
    assert predict(run, out, tmp_path / "a.tif", tmp_path / "b.tif") == 1
    assert f"a.tif: ZeroDivisionError: oh (see {out / 'a.error.txt'})" in capsys.readouterr().err
    assert "ZeroDivisionError: oh" in (out / "a.error.txt").read_text()
    assert (out / "b" / "summary.json").exists()
    monkeypatch.undo()
    assert predict(run, out, tmp_path / "a.tif", tmp_path / "b.tif") == 0
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]


def test_a_slide_that_fails_half_way_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiff(tmp_path / "a.tif", tissue())
    monkeypatch.setattr(one_slide.Exports, "add", lambda self, nucleus: 1 / 0)
    monkeypatch.setattr(one_slide.Exports, "__exit__", one_slide.Exports.__exit__)
    assert (
        predict(run, tmp_path / "out", tmp_path / "a.tif", "--set", "instances.components.threshold=0.01")
        == 1
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.error.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no slide is named"),
        (["a.tif", "--mpp", "3"], "--mpp 3: is not within"),
        (["a.tif", "--white", "70000"], "--white 70000: is not within 1 … 65535"),
        (["a.tif", "--set", "threshold"], "'threshold' is not of the form --set KEY=VALUE"),
        (["a.tif", "--set", "optim.learning_rate=1"], "--set optim.learning_rate: only"),
        (["a.tif", "--formats", "xlsx"], "--formats: no such format: xlsx. There are: geojson, csv"),
        (["a.tif", "--workers", "-1"], "--workers -1: must be 0 or more"),
        (["a.tif", "--share", "2/1"], "--share 2/1: must be K/N"),
        (["a.tif", "--set", "eval.batch_size=0"], "eval.batch_size must be at least 1"),
        (["a.tif", "--set", "eval.min_area_um2=8"], "--set eval.min_area_um2: has no effect on slides"),
        (["a.tif", "--set", "eval.overlap_px=-1"], "eval.overlap_px must be 0 or more"),
        (["a.tif", "--set", "eval.tile_px=100"], "must be a multiple of 32"),
        (["a.tif", "--set", "eval.tile_px=20000"], "eval.tile_px must be at most 16,384, got 20000"),
        (
            ["a.tif", "--set", "eval.batch_size=1000000"],
            "eval.batch_size × data.crop_size² = 1000000 × 32² are",
        ),
        (["a.tif", "--set", "eval.tile_px=256"], "sees 128 px around a pixel"),
        (["a.tif", "--set", "instances.masked=pens"], "instances.masked has pens, but can have pen, black"),
        (["a.tif", "--set", "instances.method=foo"], "instances.method must be one of"),
        (["a.tif", "--set", "instances.components.threshold=5"], "threshold must be between 0 and 1, got 5"),
        (
            ["a.tif", "--set", "instances.watershed.h_um=5"],
            "instances.watershed.h_um: has no effect on",
        ),
        (["a.tif", "--set", "instances.method=boundary"], "needs a network with a class for boundaries"),
        (["a.tif", "--network-mpp", "9"], "--network-mpp 9"),
        (["a.tif", "--list", "none.txt"], "--list none.txt: cannot be read"),
    ],
)
def test_wrong_arguments(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert predict(run, tmp_path / "out", *arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(tmp_path / "run", tmp_path / "out", "a.tif") == 2
    assert "no checkpoint in" in capsys.readouterr().err


def test_where_nothing_can_be_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiff(tmp_path / "a.tif", tissue())
    assert predict(run, Path("/proc/out"), tmp_path / "a.tif") == 2
    assert "error: --out /proc/out: cannot be written to" in capsys.readouterr().err


def test_no_empty_folder_stays(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tif").write_bytes(b"nothing")
    out, scratch = tmp_path / "new" / "out", tmp_path / "scratch"
    assert predict(run, out, tmp_path / "a.tif", "--scratch", scratch) == 1
    assert "1 failed" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_names_that_are_no_text(run: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff.tif")
    write_tiff(tmp_path / "a.tif", tissue()).rename(path)
    for _ in range(2):  # the second one finds it finished
        assert predict(run, tmp_path / "out", path) == 0
    (folder,) = (tmp_path / "out").iterdir()
    assert json.loads((folder / "summary.json").read_text())["source"]["path"].endswith("bad\\xff.tif")
    json.loads((folder / "nuclei.geojson").read_text())


def test_the_command_with_processes(run: Path, tmp_path: Path) -> None:
    """As a user starts it; the processes that cut must not start the command again."""
    write_tiff(tmp_path / "a.tif", tissue())
    arguments = ["--workdir", run, "--out", tmp_path / "out", "--workers", "1", tmp_path / "a.tif"]
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nucseg_jax.predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    assert "nuclei, 0.0 megapixels of tissue in" in result.stdout
    assert "Traceback" not in result.stderr
    assert (tmp_path / "out" / "a" / "summary.json").exists()
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert {"jax", "openslide"} <= imported and not {"tensorflow", "torch", "tensorboardX"} & imported
