"""The synthetic look-alike: reproducible, annotated to the pixel, hard enough to be of use."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2hed

from data_prep.annotations import rasterize
from data_prep.synthetic import ORGANS, annotation, generate, main, write_dataset
from nucseg_jax.io.names import beside

pytestmark = pytest.mark.filterwarnings("error")
SIZE = 256


@pytest.fixture(scope="module")
def pictures() -> dict[str, tuple[np.ndarray, list[np.ndarray]]]:
    return {organ: generate(3, index, organ, SIZE) for index, organ in enumerate(ORGANS)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "synthetic"
    write_dataset(out, images=9, test=2, size=96, seed=0)
    return out


def label_map(polygons: list[np.ndarray], folder: Path, size: int = SIZE) -> np.ndarray:
    path = folder / "nuclei.xml"
    annotation(polygons).write(path, encoding="utf-8")
    return rasterize(path, (size, size))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_key_same_bytes_and_another_key_another_picture() -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].copy()
    first, outlines = generate(1, 2, "liver", 128)
    again, outlines_again = generate(1, 2, "liver", 128)
    assert first.tobytes() == again.tobytes()
    assert all(np.array_equal(a, b) for a, b in zip(outlines, outlines_again, strict=True))
    for seed, index in ((2, 2), (1, 3)):
        assert not np.array_equal(first, generate(seed, index, "liver", 128)[0])
    assert np.array_equal(state, np.random.get_state(legacy=False)["state"]["key"])  # not touched


def test_types_and_places(pictures: dict) -> None:
    for image, polygons in pictures.values():
        assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
        assert len(polygons) >= 20
        for polygon in polygons:
            assert polygon.dtype == np.float64 and polygon.shape[0] >= 14 and polygon.shape[1] == 2
            assert polygon.min() > -60 and polygon.max() < SIZE + 60
            assert (polygon.max(0) > 1).all() and (polygon.min(0) < SIZE).all()


def test_organs_differ(pictures: dict) -> None:
    assert len(ORGANS) >= 5
    colours = np.array([image.mean((0, 1)) for image, _ in pictures.values()])
    counts = [len(polygons) for _, polygons in pictures.values()]
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[np.triu_indices(len(colours), 1)].max() > 40
    assert max(counts) > 2 * min(counts)


@pytest.mark.parametrize("organ", ORGANS)
def test_nuclei_are_bluer_than_what_surrounds_them(pictures: dict, tmp_path: Path, organ: str) -> None:
    image, polygons = pictures[organ]
    nuclei = label_map(polygons, tmp_path) > 0
    around = ndimage.binary_dilation(nuclei, iterations=6) & ~nuclei
    hematoxylin = rgb2hed(image)[..., 0]
    assert 0.08 < nuclei.mean() < 0.6
    assert hematoxylin[nuclei].mean() > 1.3 * hematoxylin[around].mean()


def test_outlines_lie_where_the_nuclei_are_drawn(pictures: dict, tmp_path: Path) -> None:
    """Shifting the label map by a pixel in any direction must fit the pictures less well."""
    shifts = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    contrast = dict.fromkeys(shifts, 0.0)
    for image, polygons in pictures.values():
        nuclei = label_map(polygons, tmp_path) > 0
        dark = -image.astype(float).sum(-1)
        for shift in shifts:
            moved = np.roll(nuclei, shift, (0, 1))
            contrast[shift] += dark[moved].mean() - dark[~moved].mean()
    assert max(contrast, key=lambda shift: contrast[shift]) == (0, 0)
    # A shift of half a pixel would favour one side of an axis.
    gain = contrast[0, 0] - min(contrast.values())
    assert abs(contrast[0, 1] - contrast[0, -1]) < 0.5 * gain
    assert abs(contrast[1, 0] - contrast[-1, 0]) < 0.5 * gain


def test_nuclei_touch_and_overlap(pictures: dict, tmp_path: Path) -> None:
    touching = overlapping = total = 0
    for _, polygons in pictures.values():
        labels = label_map(polygons, tmp_path)
        assert len(np.unique(labels)) == len(polygons) + 1  # every nucleus is seen
        below, above = labels[1:], labels[:-1]
        border = (below != above) & (below > 0) & (above > 0)
        touching += len(np.unique(below[border]))
        alone = [int((label_map([p], tmp_path) > 0).sum()) for p in polygons[:40]]
        seen = np.bincount(labels.ravel(), minlength=41)[1:41]
        overlapping += int((seen[: len(alone)] < alone).sum())
        total += len(polygons)
    assert touching > 0.08 * total
    assert overlapping > 0


def test_dataset_is_in_the_official_layout(dataset: Path) -> None:
    manifest = json.loads((dataset / "manifest.json").read_text())
    assert set(manifest) == {"name", "description", "stain_target", "images"}
    assert manifest["name"] == "synthetic"
    entries = manifest["images"]
    assert [e["split"] for e in entries] == ["train"] * 7 + ["test"] * 2
    assert entries[0]["id"] == "SYN-BREAST-000"
    assert manifest["stain_target"] in {e["id"] for e in entries if e["split"] == "train"}
    assert len({e["organ"] for e in entries if e["split"] == "test"}) == 2
    expected = {"manifest.json"}
    for entry in entries:
        image_path = dataset / "Tissue Images" / f"{entry['id']}.tif"
        with Image.open(image_path) as image:
            assert image.mode == "RGB" and image.size == (96, 96)
            assert image.info["dpi"] == pytest.approx((25400 / 0.25, 25400 / 0.25))
            pixels = np.array(image)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == entry["sha256"]
        xml_path = dataset / "Annotations" / f"{entry['id']}.xml"
        root = ElementTree.parse(xml_path).getroot()
        assert root.tag == "Annotations" and float(root.attrib["MicronsPerPixel"]) == 0.25
        regions = root.findall("Annotation/Regions/Region")
        assert rasterize(xml_path, (96, 96)).max() == len(regions) > 0
        expected |= {str(p.relative_to(dataset)) for p in (image_path, xml_path)}
    assert set(tree(dataset)) == expected


def test_an_image_depends_on_its_number_not_on_how_many_there_are(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    write_dataset(out, images=2, test=0, size=96, seed=0)
    whole, part = tree(dataset), tree(out)
    part.pop("manifest.json")
    assert len(part) == 4 and all(whole[name] == content for name, content in part.items())


def test_writes_over_its_own_output_only(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--out", str(tmp_path / "out"), "--size", "64", "--test", "1", "--images"]
    main([*arguments, "3"])
    (tmp_path / "out" / "Tissue Images" / "SYN-LIVER-002.tif.host-77-0123abcd.tmp").touch()  # of a killed run
    main([*arguments, "2"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("wrote 1 train and 1 test images of 64x64 px")
    assert len(tree(tmp_path / "out")) == 5

    note = tmp_path / "out" / "notes.txt"
    note.write_text("mine")
    before = tree(tmp_path / "out")
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "2"])
    assert "notes.txt" in capsys.readouterr().err
    assert tree(tmp_path / "out") == before
    note.unlink()
    (tmp_path / "out" / "manifest.json").write_text('{"name": "kumar"}')
    with pytest.raises(FileExistsError, match=r"manifest\.json"):
        write_dataset(tmp_path / "out", images=2, test=1, size=64, seed=0)


def test_an_interrupted_run_leaves_the_older_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new" / "out"
    for before in ({}, None):
        if before is None:
            write_dataset(out, images=2, test=1, size=64, seed=0)
            before = tree(out)
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, "save", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                write_dataset(out, images=3, test=1, size=64, seed=1)
        assert tree(out) == before
        assert out.parent.exists() == bool(before)


def test_what_a_killed_run_left_is_deleted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_dataset(out, images=2, test=1, size=64, seed=0)
    before = tree(out)
    (out / "Tissue Images").rename(beside(out / "Tissue Images", "old"))  # between two renames
    half = beside(out / "Annotations", "tmp")
    half.mkdir()
    (half / "SYN-LIVER-002.xml").touch()
    (out / ".Annotations.lock").touch()
    write_dataset(out, images=2, test=1, size=64, seed=0)
    assert tree(out) == before and len(list(out.iterdir())) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test": 2}, "test < images"),
        ({"test": -1}, "test < images"),
        ({"size": 63}, "size >= 64"),
        ({"seed": -1}, "seed >= 0"),
    ],
)
def test_numbers_that_make_no_dataset(tmp_path: Path, changed: dict, message: str) -> None:
    options = {"images": 2, "test": 1, "size": 64, "seed": 0} | changed
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_generate_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="unknown organ 'spleen'"):
        generate(0, 0, "spleen", 128)
    with pytest.raises(ValueError, match="negative"):
        generate(-1, 0, "liver", 128)
    with pytest.raises(ValueError, match="at least 64"):
        generate(0, 0, "liver", 32)


def test_command_exits_with_2_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "foreign.txt").touch()
    command = [sys.executable, "-m", "data_prep.synthetic", "--out", str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "foreign.txt" in done.stderr
    assert "Traceback" not in done.stderr
