"""Write a look-alike of MoNuSeg, so that everything runs where the real data cannot be had.

    python -m data_prep.synthetic --out DIR [--images 14] [--test 4] [--size 1000] [--seed 0]

makes the official layout (`Tissue Images/ID.tif`, `Annotations/ID.xml`) and a split manifest,
`manifest.json`. An image depends on the seed, its number and the size alone. Scores on it say that
the code works, not how well a network segments real tissue.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from tqdm import tqdm

from nucseg_jax.errors import UserError, shown
from nucseg_jax.io.files import filled_folder, replacing, replacing_folder
from nucseg_jax.io.images import pixel_sha256, save_whole
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.locks import alone, lock_beside

from .staining import Stains, photograph
from .tissue import Organ, Section

NAME = "synthetic"
MICRONS_PER_PIXEL = 0.25
RESOLUTION: dict[str, Any] = {
    "resolution_unit": "cm",
    "x_resolution": 1e4 / MICRONS_PER_PIXEL,
    "y_resolution": 1e4 / MICRONS_PER_PIXEL,
}
MIN_SIZE_PX = 64
MANIFEST, IMAGES, ANNOTATIONS = "manifest.json", "Tissue Images", "Annotations"
# What write_dataset leaves in its folder, with the temporary names of a run that was killed.
_TEMPORARY = r"(\.[^/]+\.(tmp|old))?"
OUR_FILE = re.compile(
    rf"(manifest\.json|{IMAGES}{_TEMPORARY}/SYN-[A-Z]+-\d+\.tif|"
    rf"{ANNOTATIONS}{_TEMPORARY}/SYN-[A-Z]+-\d+\.xml){_TEMPORARY}"
)
DESCRIPTION = (
    "Drawn, not real, tissue in the layout of MoNuSeg (data_prep.synthetic, seed {seed}, "
    "{size} px square, about 40x)"
)

ORGANS: dict[str, Organ] = {
    "breast": Organ(
        hematoxylin=(0.56, 0.73, 0.4), eosin=(0.24, 0.83, 0.5),
        radius=13.5, spread=0.24, elongation=1.25, crowding=0.36, spacing=1.06, gland=150,
        stroma=0.38, lumen=0.02, cytoplasm=0.45, basophilia=0.62, tone=1.5, vesicular=0.4,
        clumps=0.38, loose=0.5, lymphocytes=0.25, blood=5, fat=40,
    ),
    "kidney": Organ(
        hematoxylin=(0.5, 0.77, 0.41), eosin=(0.14, 0.84, 0.52),
        radius=10, spread=0.14, elongation=1.12, crowding=0.15, spacing=1.5, gland=190,
        stroma=0.22, lumen=0.03, cytoplasm=0.2, basophilia=0.34, tone=1.75, vesicular=0.5,
        clumps=0.3, membrane=0.55, lymphocytes=0.15, blood=14, fat=60,
    ),
    "liver": Organ(
        hematoxylin=(0.46, 0.78, 0.43), eosin=(0.09, 0.8, 0.59),
        radius=12, spread=0.16, elongation=1.35, crowding=0.3, spacing=1.1, gland=120,
        stroma=0.3, lumen=0.02, cytoplasm=0.95, basophilia=0.4, tone=1.3, vesicular=0.45,
        clumps=0.42, loose=0.25, blood=16, fat=40,
    ),
    "prostate": Organ(
        hematoxylin=(0.48, 0.77, 0.42), eosin=(0.12, 0.84, 0.52),
        radius=11.5, spread=0.1, elongation=1.12, crowding=0.36, spacing=1.02, gland=170,
        stroma=0.36, lumen=0.12, cytoplasm=0.45, basophilia=0.42, tone=1.15, vesicular=0.75,
        clumps=0.28, membrane=0.06, palisade=True, blood=5, mucin=0.2,
    ),
    "bladder": Organ(
        hematoxylin=(0.53, 0.75, 0.41), eosin=(0.32, 0.81, 0.49),
        radius=14, spread=0.2, elongation=1.35, crowding=0.36, spacing=1.1, gland=170,
        stroma=0.15, lumen=0.06, cytoplasm=0.6, basophilia=1.15, tone=2.1, vesicular=0.2,
        clumps=0.22, loose=0.95, blood=5,
    ),
    "colon": Organ(
        hematoxylin=(0.56, 0.74, 0.38), eosin=(0.3, 0.82, 0.48),
        radius=11.5, spread=0.14, elongation=2.1, crowding=0.46, spacing=0.99, gland=200,
        stroma=0.32, lumen=0.12, cytoplasm=0.6, basophilia=1.0, tone=2.0, vesicular=0.2,
        clumps=0.28, palisade=True, lymphocytes=0.4, blood=5, mucin=0.45,
    ),
    "stomach": Organ(
        hematoxylin=(0.57, 0.72, 0.4), eosin=(0.28, 0.82, 0.5),
        radius=8.5, spread=0.12, elongation=1.2, crowding=0.46, spacing=1.0, gland=130,
        stroma=0.25, lumen=0.05, cytoplasm=0.45, basophilia=1.3, tone=2.4, vesicular=0.24,
        clumps=0.2, loose=0.8, lymphocytes=0.5, blood=6, mucin=0.3,
    ),
}  # fmt: skip


def generate(seed: int, index: int, organ: str, size: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw one image and the outlines of its nuclei.

    Returns RGB `uint8 [size, size, 3]` and polygons `float64 [N, 2]` of x and y, in the pixel
    coordinates of the official annotations (the centre of row r, column c, counted from 0, is
    x = c + 1, y = r + 1). Where two polygons overlap, the first is the visible one. A polygon may
    reach past the image's edge. Raises `ValueError` for an unknown organ, a negative seed or index,
    or a size under 64 px.
    """
    if organ not in ORGANS:
        raise ValueError(f"unknown organ {organ!r}: one of {', '.join(ORGANS)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative: {seed}, {index}")
    if size < MIN_SIZE_PX:
        raise ValueError(f"size must be at least {MIN_SIZE_PX} px: {size}")
    key = np.array([seed, index], dtype=np.uint64)
    section = Section(np.random.Generator(np.random.Philox(key=key)), ORGANS[organ], size)
    image = photograph(Stains(section))
    return image, [nucleus.polygon for nucleus in section.nuclei]


def write_dataset(out: str | Path, *, images: int, test: int, size: int, seed: int) -> Path:
    """Write `images` images of `size` px square, the last `test` of them as the test split.

    Organs take turns. `out` must be missing, empty or an earlier output of this function, which is
    replaced when the new one is complete, or not at all. Returns the manifest's path.
    Raises `ValueError` for numbers that make no dataset and `FileExistsError` where `out` holds
    anything else; both before anything is written.
    """
    if not 0 <= test < images:
        raise ValueError(f"need 0 <= test < images, so that one image trains: {test}, {images}")
    if size < MIN_SIZE_PX or seed < 0:
        raise ValueError(f"need size >= {MIN_SIZE_PX} px and seed >= 0: {size}, {seed}")
    out = Path(out)
    with filled_folder(out.absolute().parent), alone(lock_beside(out), out, print):
        return _write(out, images, test, size, seed)


def _write(out: Path, images: int, test: int, size: int, seed: int) -> Path:
    """`write_dataset`, with no other process at it."""
    for path in (out / name for name in (MANIFEST, IMAGES, ANNOTATIONS)):
        remove_leftovers(path)
    _check_ours(out)
    with (
        filled_folder(out),
        replacing(out / MANIFEST) as manifest,
        replacing_folder(out / IMAGES) as tissue,
        replacing_folder(out / ANNOTATIONS) as annotations,
    ):
        entries = _draw_all(tissue, annotations, images, test, size, seed)
        described = {
            "name": NAME,
            "description": DESCRIPTION.format(seed=seed, size=size),
            "stain_target": entries[0]["id"],
            "images": entries,
        }
        manifest.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return out / MANIFEST


def _draw_all(
    tissue: Path, annotations: Path, images: int, test: int, size: int, seed: int
) -> list[dict[str, str]]:
    """Draw all images into two folders; the manifest's entries."""
    entries = []
    names = list(ORGANS)
    for index in tqdm(range(images), desc="synthetic", unit="image"):
        organ = names[index % len(names)]
        image_id = f"SYN-{organ.upper()}-{index:03d}"
        image, polygons = generate(seed, index, organ, size)
        path = tissue / f"{image_id}.tif"
        save_whole(Image.fromarray(image), path, "TIFF", compression="tiff_lzw", **RESOLUTION)
        annotation(polygons).write(annotations / f"{image_id}.xml", encoding="utf-8")
        entries.append(
            {
                "id": image_id,
                "split": "train" if index < images - test else "test",
                "organ": organ,
                "sha256": pixel_sha256(image),
            }
        )
    return entries


def annotation(polygons: list[np.ndarray]) -> ElementTree.ElementTree:
    """Return the Aperio ImageScope document that outlines `polygons` (`[N, 2]`, x and y in px)."""
    root = ElementTree.Element("Annotations", MicronsPerPixel=f"{MICRONS_PER_PIXEL:.6f}")
    layer = ElementTree.SubElement(root, "Annotation", Id="1", Name="", Type="4", Visible="1")
    regions = ElementTree.SubElement(layer, "Regions")
    for number, polygon in enumerate(polygons, start=1):
        sides = np.roll(polygon, -1, axis=0) - polygon
        area = 0.5 * abs(float(np.sum(polygon[:, 0] * sides[:, 1] - polygon[:, 1] * sides[:, 0])))
        length = float(np.hypot(sides[:, 0], sides[:, 1]).sum())
        region = ElementTree.SubElement(
            regions,
            "Region",
            Id=str(number),
            Type="0",
            Length=f"{length:.1f}",
            Area=f"{area:.1f}",
            LengthMicrons=f"{length * MICRONS_PER_PIXEL:.1f}",
            AreaMicrons=f"{area * MICRONS_PER_PIXEL**2:.1f}",
            NegativeROA="0",
            DisplayId=str(number),
        )
        vertices = ElementTree.SubElement(region, "Vertices")
        for x, y in polygon.tolist():
            ElementTree.SubElement(vertices, "Vertex", X=f"{x:.2f}", Y=f"{y:.2f}")
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree, space="\t")
    return tree


def _check_ours(out: Path) -> None:
    """Raise FileExistsError where `out` holds anything but an earlier synthetic dataset."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is not a folder")
    files = [path for path in out.rglob("*") if not path.is_dir()]
    foreign = sorted(path for path in files if not _is_ours(out, path))
    if foreign:
        raise FileExistsError(
            f"{out} holds files that are not a synthetic dataset's, such as {foreign[0]}: "
            "choose another folder"
        )


def _is_ours(out: Path, path: Path) -> bool:
    """Whether `write_dataset` (or a run of it that was cut short) made `path` in `out`."""
    if not OUR_FILE.fullmatch(path.relative_to(out).as_posix()):
        return False
    if path.name != MANIFEST:
        return True
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("name") == NAME


def draw(out: Path, *, images: int, test: int, size: int, seed: int) -> None:
    """`write_dataset` as a command: prints what was made.

    Raises:
      UserError: a number out of its range, or the folder holds something else.
    """
    try:
        manifest = write_dataset(out, images=images, test=test, size=size, seed=seed)
    except UserError:
        raise
    except (ValueError, FileExistsError) as error:
        raise UserError(str(error)) from error
    print(
        f"wrote {images - test} train and {test} test images of {size}x{size} px, seed {seed}, to "
        f"{shown(manifest.parent)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare synthetic`."""
    from nucseg_jax.cli import door

    door("prepare", "synthetic", arguments=arguments)


if __name__ == "__main__":
    main()
