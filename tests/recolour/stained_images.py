"""Images of two stains, and the command run on them."""

import json

import numpy as np
from PIL import Image

from nucseg_jax.cli import main

# Stain vectors of three laboratories.
TARGET = ((0.65, 0.70, 0.29), (0.22, 0.80, 0.56))
BLUER = ((0.68, 0.66, 0.31), (0.15, 0.83, 0.54))
REDDER = ((0.55, 0.75, 0.36), (0.20, 0.86, 0.47))
WHITE = np.full((96, 96, 3), 255, np.uint8)


def tissue(seed, vectors=TARGET, height=96, width=96):
    """A picture of two stains: uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.3, (height, width, 2)) * (rng.random((height, width, 2)) < 0.7)
    return (255 * np.exp(-amounts @ np.array(vectors))).clip(0, 255).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def run(*images, target, out, options=()):
    return main(["stain", *map(str, images), "--target", str(target), "--out", str(out), *options])


def written(out):
    return sorted(path.name for path in out.iterdir())


def record(out):
    return json.loads((out / "stain.json").read_text())


def failure(capsys, *images, target, out, options=()):
    """What a run says that does nothing."""
    capsys.readouterr()
    assert run(*images, target=target, out=out, options=options) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and "Traceback" not in said.err
    return said.err
