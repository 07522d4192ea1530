"""A picture, and files of many formats that hold it."""

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.slides import open_slide

DOTS_AN_INCH = 25400 / 0.5  # 0.5 µm
CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}


def picture(height: int = 90, width: int = 130) -> NDArray[np.uint8]:
    """Smooth colours, so that JPEG and scaling change little."""
    y, x = np.mgrid[:height, :width]
    return np.stack([120 + 100 * np.sin(y / 20), 255 - y, 40 + x], axis=-1).clip(0, 255).astype(np.uint8)


def tiled(path: Path, image: NDArray, **options) -> Path:
    tags = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(path, image, tile=(32, 48), **{**tags, **options})
    return path


def pyramid(path: Path, image: NDArray[np.uint8], levels: int = 3, **tags) -> Path:
    """Pages one after the other, each half of the one before, as libvips writes them."""
    with tifffile.TiffWriter(path) as writer:
        for level in range(levels):
            small = np.asarray(Image.fromarray(image).reduce(2**level)) if level else image
            options = dict(tags) if level == 0 else {}
            writer.write(small, tile=(32, 32), photometric="rgb", subfiletype=int(level > 0), **options)
    return path


def write(path: Path, image: NDArray[np.uint8]) -> Path:
    """In the format that the name asks for, with 0.5 µm a pixel."""
    if path.name == "plain.tif":
        tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=7, **CM)
    elif path.name == "planes.tif":
        tiled(path, np.moveaxis(image, 2, 0).copy(), planarconfig="separate")
    elif path.name == "imagej.tif":
        tifffile.imwrite(path, image, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "um"})
    elif path.name == "a.ome.tif":
        ome = {"axes": "YXS", "PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
        tifffile.imwrite(path, image, tile=(32, 32), photometric="rgb", metadata=ome)
    elif path.name == "pyramid.tif":
        pyramid(path, image, **CM)
    elif path.suffix == ".tif":
        tiled(path, image, compression=path.stem)
    else:
        Image.fromarray(image).save(path, dpi=(DOTS_AN_INCH, DOTS_AN_INCH))
    return path


def opened(path: Path) -> NDArray[np.uint8]:
    with open_slide(path, 0.5) as slide:
        return slide.region(0, 0, *slide.size, 0.5)


def halved(image: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """A level as most programs make it: means of squares; rows and columns that are over are dropped."""
    side = 2**level
    height, width = (length // side for length in image.shape[:2])
    squares = image[: height * side, : width * side].reshape(height, side, width, side, 3)
    return np.round(squares.mean((1, 3))).astype(np.uint8)


def halved_pyramid(path: Path, image: NDArray[np.uint8], levels: int, description: str = "") -> Path:
    """A TIFF with `halved` levels and 0.25 µm a pixel; the description says which scanner's."""
    tags = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER", "compression": "zlib"}
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            described = {"description": description} if description and level == 0 else {}
            kind = {"photometric": "rgb", "subfiletype": int(level > 0), "metadata": None}
            writer.write(halved(image, level), tile=(64, 64), **tags, **kind, **described)
    return path


def aperio(path: Path, image: NDArray[np.uint8], levels: int) -> Path:
    """A slide that OpenSlide takes as Aperio's: tiled, and its description begins with that name."""
    height, width = image.shape[:2]
    return halved_pyramid(
        path, image, levels, f"Aperio Image Library\n{width}x{height} (64x64) RGB|AppMag = 40|MPP = 0.25"
    )


def leica(path: Path, image: NDArray[np.uint8], levels: int, canvas: tuple[int, int, int, int]) -> Path:
    """A slide that OpenSlide takes as Leica's, and lays on a canvas.

    Args:
      path: of the file.
      image: uint8 [H, W, 3], what was scanned.
      levels: of its pyramid.
      canvas: its height and width, and the image's top and left on it, in pixels.
    """
    height, width, top, left = (250 * length for length in canvas)  # nm
    rows, columns = image.shape[:2]
    levels_xml = "".join(
        f'<dimension sizeX="{columns // 2**i}" sizeY="{rows // 2**i}" r="{i}" ifd="{i}"/>'
        for i in range(levels)
    )
    return halved_pyramid(
        path,
        image,
        levels,
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection sizeX="{width}" sizeY="{height}"><image>'
        f'<pixels sizeX="{columns}" sizeY="{rows}">{levels_xml}</pixels>'
        f'<view sizeX="{250 * columns}" sizeY="{250 * rows}" offsetX="{left}" offsetY="{top}"/>'
        "<scanSettings><objectiveSettings><objective>40</objective></objectiveSettings><illuminationSettings>"
        "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings>"
        "</image></collection></scn>",
    )
