"""Source folders of small images, each with its label map."""

import json

import numpy as np
from PIL import Image

SIDE = 48


def write_folder(folder, ids, splits=None, manifest_name="its own"):
    """A folder with an image ID.png and its label map an id.

    Args:
      folder: to make.
      ids: of the images.
      splits: of the images, where the folder has a manifest.json; None: it has none.
      manifest_name: the name that the manifest says.

    Returns:
      The folder.
    """
    folder.mkdir(parents=True)
    for name in ids:
        rng = np.random.default_rng(list(name.encode()))
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / f"{name}.png")
        labels = np.zeros((SIDE, SIDE), np.int32)
        labels[5:15, 5:15] = 1
        np.save(folder / f"{name}_label.npy", labels)
    if splits is not None:
        entries = [entry(name, split) for name, split in zip(ids, splits, strict=True)]
        write_manifest(folder / "manifest.json", entries, manifest_name)
    return folder


def entry(name, split="train", **more):
    return {"id": name, "split": split, "organ": "lung", "sha256": "", **more}


def write_manifest(path, entries, name="its own"):
    content = {"name": name, "description": f"Of {name}.", "stain_target": "", "images": entries}
    path.write_text(json.dumps(content))
    return path
