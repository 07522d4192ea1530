"""A folder of all formats: complete, or not there."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import nucseg_jax
from nucseg_jax.errors import UserError
from nucseg_jax.export import FORMATS, Exports
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, leftovers, many

FILES = [
    "density.png",
    "density.tif",
    "labels.ome.tif",
    "neighbours.csv",
    "neighbours.parquet",
    "nuclei.csv",
    "nuclei.geojson",
    "nuclei.parquet",
    "overlay.png",
    "summary.json",
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "slide.svs"
    path.parent.mkdir()
    path.write_bytes(b"slide")
    return path


def temporary_of(process: int) -> re.Pattern[str]:
    return re.compile(rf"out\..+-{process}-[0-9a-f]{{8}}\.tmp")


def exports(folder: Path, source: Path, **options) -> Exports:
    given = {
        "source": source,
        "thumbnail": np.full((75, 100, 3), 200, np.uint8),
        "config": {"model": "unet"},
        "seconds": {},
    }
    return Exports(folder, options.pop("frame", FRAME), **(given | options))


def test_all_formats_with_the_same_nuclei(tmp_path, source):
    nuclei = many(150, FRAME)
    seconds, left_out, kept, notes = {"reading": 1.5}, {"too_large": 0}, {"too_large": 0}, ["a"]
    options = {"seconds": seconds, "masked": {"pen": 0.25, "fold": 0.0}, "left_out": left_out}
    options |= {"implausible": kept, "config": {"model": "unet", "notes": notes}}
    with exports(tmp_path / "out", source, **options) as folder:
        for nucleus in nuclei:
            folder.add(nucleus)
        lock, source_folder, temporary = leftovers(tmp_path)
        assert (lock, source_folder) == (".out.lock", "in") and temporary_of(os.getpid()).fullmatch(temporary)
        seconds["network"] = 2.5
        left_out["too_large"], kept["too_large"] = 3, 2
        notes.append("b")
    assert leftovers(tmp_path) == ["in", "out"]
    assert leftovers(tmp_path / "out") == FILES
    features = json.loads((tmp_path / "out/nuclei.geojson").read_text())["features"]
    rows = (tmp_path / "out/nuclei.csv").read_text().splitlines()[1:]
    assert len(features) == len(rows) == 150
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["format_version"] == 2
    assert summary["source"]["path"] == str(source)
    assert summary["source"]["bytes"] == 5
    assert summary["slide"] == {
        "name": "out",
        "size_px": [300, 400],
        "mpp": 0.25,
        "network_mpp": 0.25,
        "offset_px": {"x": 0, "y": 0},
    }
    area_mm2 = 300 * 400 * 0.00025**2
    pixels = sum(int(nucleus.mask.sum()) for nucleus in nuclei)
    assert summary["nuclei"] == pytest.approx(
        {
            "count": 150,
            "area_mm2": area_mm2,
            "per_mm2": 150 / area_mm2,
            "mean_area_um2": pixels * 0.0625 / 150,
        }
    )
    assert [row["r_um"] for row in summary["clumping"]] == [10, 20, 50, 100]
    assert [row["l_um"] is None for row in summary["clumping"]] == [False, True, True, True]  # 75 µm high
    assert summary["masked"] == {
        "pen": {"share": 0.25, "area_mm2": pytest.approx(area_mm2 / 4)},
        "fold": {"share": 0.0, "area_mm2": 0.0},
    }
    assert summary["left_out"] == {"too_large": 3} and summary["implausible"] == {"too_large": 2}
    assert summary["seconds"] == {"reading": 1.5, "network": 2.5}
    assert summary["config"] == {"model": "unet", "notes": ["a", "b"]}
    assert summary["versions"]["nucseg_jax"] == nucseg_jax.__version__
    assert summary["versions"]["numpy"] == np.__version__


def test_area_of_the_tissue(tmp_path, source):
    tissue = np.zeros((4, 4), dtype=bool)
    with exports(tmp_path / "none", source, tissue=tissue):
        pass
    tissue = tissue.copy()
    tissue[0] = True
    with exports(tmp_path / "quarter", source, tissue=tissue):
        pass
    empty, quarter = (
        json.loads((tmp_path / name / "summary.json").read_text())["nuclei"] for name in ("none", "quarter")
    )
    assert empty == {"count": 0, "area_mm2": 0, "per_mm2": None, "mean_area_um2": None}
    assert quarter["area_mm2"] == pytest.approx(300 * 400 * 0.00025**2 / 4)


def test_some_formats(tmp_path, source):
    with exports(tmp_path / "out", source, formats=["csv", "labels"], labels="labels.png"):
        pass
    assert leftovers(tmp_path / "out") == ["labels.png", "nuclei.csv", "summary.json"]
    with pytest.raises(UserError, match="shapefile.*geojson"):
        exports(tmp_path / "out", source, formats=["csv", "shapefile"])
    assert set(FORMATS) >= {"csv", "labels"}


@pytest.mark.parametrize("when", ["adding", "at the end"])
def test_an_error_leaves_the_older_folder(tmp_path, source, when):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises((RuntimeError, ValueError)), exports(out, source) as folder:
        folder.add(Nucleus(1, 0, 0, np.eye(2, dtype=bool), 0.5))  # refused when the block ends
        if when == "adding":
            raise RuntimeError
    assert leftovers(tmp_path) == ["in", "out"]
    assert leftovers(out) == ["old"]


def test_an_older_folder_is_replaced(tmp_path, source):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with exports(out, source):
        pass
    assert leftovers(out) == FILES
    assert leftovers(tmp_path) == ["in", "out"]


@pytest.mark.parametrize("config", [{"a": object()}, {"a": float("nan")}])
def test_a_config_that_json_cannot_hold_is_refused_at_once(tmp_path, source, config):
    with pytest.raises((TypeError, ValueError)), exports(tmp_path / "out", source, config=config):
        pytest.fail("too late")
    assert leftovers(tmp_path) == ["in"]


KILLED = """
    import sys, numpy as np
    from pathlib import Path
    from nucseg_jax.export import Exports
    from nucseg_jax.nuclei import Frame, Nucleus
    frame, out = Frame((20_000, 20_000), 0.25, 0.25), Path(sys.argv[1])
    thumbnail = np.zeros((20, 20, 3), np.uint8)
    with Exports(out, frame, source=Path(sys.argv[0]), thumbnail=thumbnail, config={}, seconds={}) as exports:
        for i in range(10**9):
            exports.add(Nucleus(i + 1, i % 19_000, i * 7 % 19_000, np.ones((9, 9), bool), 0.5))
            if i == 5000:
                print("under way", flush=True)
"""


def test_killed_in_the_middle_nothing_has_the_name(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(KILLED))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "under way\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    lock, left, script_name = leftovers(tmp_path)
    assert temporary_of(process.pid).fullmatch(left) and (lock, script_name) == (".out.lock", "script.py")
    remove_leftovers(tmp_path / "out")
    assert leftovers(tmp_path) == ["script.py"]


def test_terminated_by_a_keyboard_interrupt_nothing_is_left(tmp_path, source):
    with pytest.raises(KeyboardInterrupt), exports(tmp_path / "out", source) as folder:
        folder.add(many(1, FRAME)[0])
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == ["in"]


def test_imports_neither_jax_nor_tensorflow():
    """Processes that write need not wait for them, nor hold their memory."""
    code = "import sys, nucseg_jax.export; print([m for m in ('jax', 'tensorflow') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_frame_of_an_image_smaller_than_a_square(tmp_path, source):
    frame = Frame((5, 7), 0.25, 0.25)
    with exports(tmp_path / "out", source, frame=frame) as folder:
        folder.add(Nucleus(1, 1, 1, np.ones((2, 2), bool), 0.5))
    assert leftovers(tmp_path / "out") == FILES
