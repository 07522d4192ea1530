"""Small whole files, to be damaged: each function writes those of some readers to a folder."""

import functools
import gzip
import io
import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.pretrained import SAMPLE

SIDE = 96
CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
APERIO = (
    f"Aperio Image Library v12.0\n{SIDE}x{SIDE} [0,0 {SIDE}x{SIDE}] (64x64) JPEG/RGB Q=70"
    "|AppMag = 20|MPP = 0.4990"
)


def tissue() -> NDArray[np.uint8]:
    """A part of the sample image: uint8 [SIDE, SIDE, 3]."""
    with Image.open(SAMPLE) as image:
        return np.asarray(image.crop((200, 200, 200 + SIDE, 200 + SIDE)))


def labels() -> NDArray[np.int32]:
    """int32 [SIDE, SIDE] with 12 nuclei."""
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (y % 32 - 16) ** 2 + (x % 24 - 12) ** 2 < 80
    return np.where(inside, y // 32 * 4 + x // 24 + 1, 0).astype(np.int32)


def png(folder: Path) -> list[Path]:
    """RGB, RGB with transparency, a palette, 16 bits."""
    image = Image.fromarray(tissue())
    kinds = {"rgb": image, "rgba": image.convert("RGBA"), "palette": image.quantize(16)}
    for name, picture in kinds.items():
        picture.save(folder / f"{name}.png", dpi=(50800, 50800))
    (folder / "sixteen.png").write_bytes(imagecodecs.png_encode(tissue().astype(np.uint16) * 257))
    return [folder / f"{name}.png" for name in (*kinds, "sixteen")]


def jpeg(folder: Path) -> list[Path]:
    """Sequential and progressive."""
    for name, progressive in (("plain", False), ("progressive", True)):
        Image.fromarray(tissue()).save(folder / f"{name}.jpg", progressive=progressive, dpi=(50800, 50800))
    return [folder / "plain.jpg", folder / "progressive.jpg"]


def tiff(folder: Path) -> list[Path]:
    """Strips, tiles of several codecs, planes, 16 bits, a palette, a pyramid."""
    image = tissue()
    options: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 20},
        "lzw": {"tile": (32, 32), "compression": "lzw", "predictor": True},
        "deflate": {"tile": (64, 64), "compression": "zlib"},
        "jpeg": {"tile": (64, 64), "compression": "jpeg"},
        "jpeg2000": {"tile": (64, 64), "compression": "jpeg2000"},
    }
    for name, more in options.items():
        tifffile.imwrite(folder / f"{name}.tif", image, photometric="rgb", metadata=None, **CM, **more)
    sixteen = image.astype(np.uint16) * 257
    tifffile.imwrite(folder / "sixteen.tif", sixteen, photometric="rgb", metadata=None, **CM)
    planes = np.moveaxis(image, 2, 0).copy()
    tifffile.imwrite(folder / "planes.tif", planes, photometric="rgb", planarconfig="separate", **CM)
    Image.fromarray(image).quantize(16).save(folder / "palette.tif", dpi=(50800, 50800))
    with tifffile.TiffWriter(folder / "pyramid.tif") as writer:
        for level in range(3):
            small = np.asarray(Image.fromarray(image).reduce(2**level)) if level else image
            writer.write(
                small, tile=(32, 32), photometric="rgb", subfiletype=int(level > 0), metadata=None, **CM
            )
    return sorted(folder.glob("*.tif"))


def ome_tiff(folder: Path) -> list[Path]:
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    for name, compression in (("plain", None), ("deflate", "zlib")):
        tifffile.imwrite(
            folder / f"{name}.ome.tif",
            tissue(),
            tile=(32, 32),
            photometric="rgb",
            metadata=metadata,
            compression=compression,
        )
    metadata |= {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}}
    planes = np.moveaxis(tissue(), 2, 0)
    options: dict[str, Any] = {"tile": (32, 32), "photometric": "minisblack"}
    tifffile.imwrite(folder / "planes.ome.tif", planes, metadata=metadata, **options)
    return sorted(folder.glob("*.tif"))


def ome_zarr(folder: Path) -> list[Path]:
    """Both versions, 8 and 16 bits, packed by several codecs; a pyramid, and shards."""
    import numcodecs
    import zarr

    from tests.slides.ome_zarr import drawn

    sixteen = tissue().astype(np.uint16) * 257
    drawn.write(folder / "blosc.zarr", tissue(), version="0.4", compressors=numcodecs.Blosc())
    drawn.write(folder / "plain.zarr", tissue(), "tczyx", version="0.4", levels=2, compressors=None)
    drawn.write(folder / "zstd.zarr", tissue(), levels=2, more={"omero": {"channels": drawn.RGB}})
    drawn.write(folder / "shards.zarr", sixteen, shards=(3, 64, 64), compressors=zarr.codecs.GzipCodec())
    return sorted(folder.glob("*.zarr"))


def svs(folder: Path) -> list[Path]:
    """As Aperio's scanners write them: tiles of JPEG, a thumbnail, a second level."""
    image = tissue()
    options: dict[str, Any] = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(folder / "a.svs") as writer:
        writer.write(image, tile=(32, 32), description=APERIO, **options)
        writer.write(image[::4, ::4], rowsperstrip=24, description=APERIO, **options)
        writer.write(image[::2, ::2], tile=(32, 32), description=APERIO, subfiletype=1, **options)
    return [folder / "a.svs"]


def other_images(folder: Path) -> list[Path]:
    """BMP, WebP with and without loss, PPM, JPEG 2000."""
    image = Image.fromarray(tissue())
    image.save(folder / "a.bmp", dpi=(50800, 50800))
    image.quantize(16).save(folder / "palette.bmp")
    image.save(folder / "a.webp")
    image.convert("RGBA").save(folder / "lossless.webp", lossless=True)
    image.save(folder / "a.ppm")
    image.save(folder / "a.jp2")
    return sorted(folder.iterdir())


def images(folder: Path) -> list[Path]:
    """What training reads."""
    return [*png(folder), *jpeg(folder), *tiff(folder)]


def png_labels(folder: Path) -> list[Path]:
    Image.fromarray(labels().astype(np.uint8)).save(folder / "eight.png")
    Image.fromarray(labels().astype(np.uint16)).save(folder / "sixteen.png")
    return [folder / "eight.png", folder / "sixteen.png"]


def tiff_labels(folder: Path) -> list[Path]:
    for name, kind, compression in (("sixteen", "u2", None), ("packed", "i4", "zlib"), ("lzw", "u4", "lzw")):
        options = {"compression": compression, "metadata": None}
        tifffile.imwrite(folder / f"{name}.tif", labels().astype(kind), **options)
    return sorted(folder.glob("*.tif"))


def npy_labels(folder: Path) -> list[Path]:
    np.save(folder / "a.npy", labels())
    np.save(folder / "b.npy", np.asfortranarray(labels().astype(">u2")))
    return [folder / "a.npy", folder / "b.npy"]


def mat_labels(folder: Path) -> list[Path]:
    """As HoVer-Net writes them; compressed as MATLAB does; of version 4."""
    from scipy.io import savemat

    content = {
        "inst_map": labels(),
        "inst_uid": np.arange(1, 13)[:, None],
        "names": np.array([["a"]], object),
    }
    savemat(folder / "plain.mat", content)
    savemat(folder / "packed.mat", {**content, "inst_map": labels().astype(float)}, do_compression=True)
    savemat(folder / "four.mat", {"other": labels(), "inst_map": labels().astype(float)}, format="4")
    return [folder / "plain.mat", folder / "packed.mat", folder / "four.mat"]


def annotations(folder: Path) -> list[Path]:
    from data_prep.synthetic import annotation

    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    annotation([circle * 8 + centre for centre in ((20, 20), (30, 24), (70, 60), (94, 50))]).write(
        folder / "a.xml"
    )
    return [folder / "a.xml", *_geojson(folder, circle)]


def _geojson(folder: Path, circle: NDArray[np.float64]) -> list[Path]:
    """As QuPath exports it: nuclei alone, and in a region beside an ignored area; gzipped."""

    def feature(points: NDArray[np.float64], kind: str, name: str | None = None) -> dict[str, Any]:
        ring = {"type": "Polygon", "coordinates": [[*points.tolist(), points[0].tolist()]]}
        properties: dict[str, Any] = {"objectType": kind, "measurements": {"Area µm^2": 12.5}}
        if name:
            properties["classification"] = {"name": name, "color": [0, 229, 255]}
        whole = {"type": "Feature", "id": f"{kind} {name}", "geometry": ring, "properties": properties}
        return whole | ({"nucleusGeometry": ring} if kind == "cell" else {})

    square = np.array([(0.0, 0.0), (1, 0), (1, 1), (0, 1)])
    centres = ((20, 20), (30, 24), (70, 60))
    nuclei = [feature(circle * 8 + centre, "detection", "Nucleus") for centre in centres]
    nuclei.append(feature(circle * 6 + (50, 80), "cell"))
    regions = [feature(square * 60 + 5, "annotation", "Region*")]
    regions.append(feature(square * 9 + 40, "annotation", "Ignore*"))
    for name, features in (("b", nuclei), ("c", [*regions, *nuclei])):
        text = json.dumps({"type": "FeatureCollection", "features": features})
        (folder / f"{name}.geojson").write_text(text)
    (folder / "d.geojson.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    return [folder / name for name in ("b.geojson", "c.geojson", "d.geojson.gz")]


def manifest(folder: Path) -> list[Path]:
    content = {
        "name": "mine",
        "description": "drawn",
        "stain_target": "a",
        "images": [
            {"id": "a", "split": "train", "organ": "liver", "sha256": "0" * 64},
            {"id": "b", "split": "test", "organ": "", "sha256": "", "source": "other"},
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return [folder / "manifest.json"]


def packed_dataset(folder: Path) -> list[Path]:
    from nucseg_jax.data import packed
    from nucseg_jax.data.dataset import Dataset, Example

    image, label_map = tissue(), labels()
    examples = [Example(name, "liver", image, label_map, image, label_map, "mine") for name in "ab"]
    splits = {"train": examples[:1], "test": examples[1:]}
    packed.write(
        Dataset("folder/x_none", splits, {"stain": "none", "mpp": 0.5}), folder / "x_none", overwrite=False
    )
    return [folder / "x_none"]


def sharded_dataset(folder: Path) -> list[Path]:
    """Its training image in shards."""
    from nucseg_jax.data import packed
    from nucseg_jax.data.dataset import Dataset, Example

    image, label_map = tissue(), labels()
    examples = [Example(name, "liver", image, label_map, image, label_map, "mine") for name in "ab"]
    splits = {"train": examples[:1], "test": examples[1:]}
    dataset = Dataset("folder/x_none", splits, {"stain": "none", "mpp": 0.5})
    packed.write(dataset, folder / "x_none", overwrite=False, shards=1)
    return [folder / "x_none"]


def prepared_dataset(folder: Path) -> list[Path]:
    """As `nucseg prepare folder` makes it, by TFDS."""
    from data_prep import folder as preparation
    from data_prep import synthetic

    synthetic.write_dataset(folder / "source", images=4, test=1, size=96, seed=0)
    out = folder / "data"
    preparation.main(["--source", str(folder / "source"), "--out", str(out), "--name", "synthetic"])
    return [next(out.glob("folder/synthetic_none/*.*.*"))]


def prepared_root(folder: Path) -> list[Path]:
    """The folder of all prepared datasets; `source` beside it has the images."""
    prepared_dataset(folder)
    return [folder / "data"]


def experiments(folder: Path) -> list[Path]:
    (folder / "mine.py").write_text(
        "from nucseg_jax.config import small\n\n\ndef get_config():\n"
        '    config = small.get_small("unet", width=0.125)\n    config.num_epochs = 3\n'
        '    config.data.stain = "none"\n    config.data.crop_size = 128\n'
        "    config.optim.restart_epochs = 3.0\n    return config\n"
    )
    return [folder / "mine.py"]


def overrides(folder: Path) -> list[Path]:
    """An argument a line."""
    (folder / "a.txt").write_text(
        "optim.learning_rate=0.01\nbatch_size=4\nnum_steps=None\n"
        "data.validation=('a', 'b')\ndata.turns=True\n"
        "instances.method=watershed\ninstances.watershed.threshold=0.4\nmodel.name=unet\n"
    )
    return [folder / "a.txt"]


def expressions(folder: Path) -> list[Path]:
    for name, text in (
        ("a", "or(unet, and(psp_segnet, self_correction))"),
        ("b", "vote(mean(unet,fcn8),weighted(unet,fcn8))"),
    ):
        (folder / f"{name}.txt").write_text(text)
    return [folder / "a.txt", folder / "b.txt"]


def run(folder: Path) -> list[Path]:
    """A run of two checkpoints and tuned settings."""
    from tests.untrained import write_run

    workdir = write_run(folder / "run")
    tuning(workdir)
    return [workdir]


def tuning(folder: Path) -> list[Path]:
    best = {
        "watershed": {"parameters": {"threshold": 0.4, "min_area_um2": 5.0, "h_um": 0.5}, "aji": 0.6},
        "components": {"parameters": {"threshold": 0.5, "min_area_um2": 5.0}, "aji": 0.5},
    }
    (folder / "tuning.json").write_text(json.dumps({"model": "unet, step 1", "best": best, "tried": []}))
    return [folder / "tuning.json"]


def stain_records(folder: Path) -> list[Path]:
    fitted: dict[str, dict[str, Any]] = {
        "vahadane": {"matrix": [[0.6, 0.64, 0.48], [0.0, 0.8, 0.6]], "max_concentrations": [1.5, 1.0]},
        "reinhard": {"mean": [60.0, 20.0, -10.0], "std": [10.0, 5.0, 4.0]},
    }
    for method, style in fitted.items():
        record = {"method": method, **style, "target": "a.png", "together": False, "images": {}}
        (folder / f"{method}.json").write_text(json.dumps(record))
    return [folder / "vahadane.json", folder / "reinhard.json"]


def weights(folder: Path) -> list[Path]:
    from nucseg_jax import pretrained

    draw = np.random.default_rng(0)
    tensors = {
        "params.conv.kernel": draw.standard_normal((3, 3, 4, 8)).astype(np.float16),
        "batch_stats.bn.mean": draw.standard_normal(8).astype(np.float32),
    }
    info = {"config": {"model": {"name": "unet", "width": 0.1}}, "classes": ["background", "nucleus"]}
    pretrained.write(folder / "mine.safetensors", "mine", info, 7, tensors)
    return [folder / "mine.safetensors"]


def model_info(folder: Path) -> list[Path]:
    """What a model says of itself; its weights are `model_tensors`."""
    from configs import demo
    from nucseg_jax.runs.checkpoint import describe

    config = demo.get_config()
    config.model.width, config.data.crop_size = 1 / 16, 32
    resolution = {"image_mpp": 0.25, "network_mpp": 0.25, "source": "a test"}
    (folder / "model.json").write_text(json.dumps(describe(config, {}, None, resolution)))
    return [folder / "model.json"]


@functools.cache
def model_tensors() -> dict[str, NDArray[Any]]:
    from nucseg_jax.models.network import Weights, split_network
    from nucseg_jax.runs.tensors import to_tensors
    from tests.networks import filled_network

    _, params, batch_stats = split_network(
        filled_network("unet", lambda shape: np.full(shape, 0.1, np.float32), width=1 / 16)
    )
    return to_tensors(Weights(params, batch_stats))


def torch_files(folder: Path) -> list[Path]:
    """Of today's PyTorch and of early releases, alone and in a checkpoint."""
    import torch

    state = {"a.weight": torch.arange(24.0).reshape(2, 3, 4), "a.bias": torch.ones(2), "n": torch.tensor(3)}
    torch.save(state, folder / "a.pt")
    torch.save({"epoch": 3, "state_dict": state}, folder / "b.pt")
    torch.save(state, folder / "a.pth", _use_new_zipfile_serialization=False)
    return [folder / "a.pt", folder / "b.pt", folder / "a.pth"]


def refined_labels(folder: Path) -> list[Path]:
    """As cycles of self-correction keep them; NumPy's archive is one of ZIP."""
    soft = np.eye(2, dtype=np.float16)[(labels() > 0).astype(int)]
    archive = io.BytesIO()
    np.savez(archive, soft_classes=soft, soft_edges=soft)
    (folder / "a.npz").write_bytes(archive.getvalue())
    return [folder / "a.npz"]


def slide_list(folder: Path) -> list[Path]:
    (folder / "slides.txt").write_text("# a cohort\n/data/a.svs\n\n/data/é b.ndpi\n", encoding="utf-8")
    return [folder / "slides.txt"]


def result(folder: Path) -> list[Path]:
    """The folder of a finished slide."""
    (folder / "a").mkdir()
    (folder / "a" / "summary.json").write_text(
        json.dumps({"nuclei": 3, "config": {"request": {"model": "he"}}})
    )
    return [folder / "a"]


def curves(folder: Path) -> list[Path]:
    lines = ({"step": 1, "loss": 0.5}, {"step": 2, "validation_dice": 0.6, "validation_aji": 0.3})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [folder / "metrics.jsonl"]
