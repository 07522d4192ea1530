"""The source folder of a dataset of three small images, its manifest, and the plan to prepare it."""

import numpy as np
from PIL import Image

from data_prep import prepare
from data_prep.manifest import ImageEntry, Manifest

SIDE = 64


def tissue(seed, side=SIDE):
    """A picture of two stains: uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.3, (side, side, 2)) * (rng.random((side, side, 2)) < 0.7)
    density = amounts @ np.array([[0.65, 0.70, 0.29], [0.10, 0.95, 0.28]])
    return (255 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def square_xml(x, y):
    """Aperio annotations of one nucleus: a square of 6 px, its top left corner at (x, y)."""
    corners = ((x, y), (x + 6, y), (x + 6, y + 6), (x, y + 6))
    points = "".join(f'<Vertex X="{a}" Y="{b}"/>' for a, b in corners)
    return f"<Annotations><Region><Vertices>{points}</Vertices></Region></Annotations>"


def manifest_of(ids, target="", sha256=None):
    """The first image is for testing, the others are for training."""
    entries = [
        ImageEntry(image_id, "train" if i else "test", "liver", (sha256 or {}).get(image_id, ""))
        for i, image_id in enumerate(ids)
    ]
    return Manifest("mine", "", target, tuple(entries))


IDS = ["TCGA-1", "TCGA-2", "TCGA-3"]
WITH_TARGET = manifest_of(IDS, target="TCGA-2")


def planned(source, manifest=None, *, stain="none", backend="jax", size=None, mpp=None, white=None):
    """The preparation of the manifest's images, by default all three; the cache lies beside the source."""
    return prepare.plan(
        manifest or manifest_of(IDS),
        [source],
        source="mine",
        stain=stain,
        stain_backend=backend,
        size=size,
        cache=source.parent / "cache",
        mpp=mpp,
        white=white,
    )


def blank(source, value):
    """Write TCGA-1 again, all of one grey."""
    pixels = np.full((SIDE, SIDE, 3), value, np.uint8)
    Image.fromarray(pixels).save(source / "Tissue Images" / "TCGA-1.tif")
