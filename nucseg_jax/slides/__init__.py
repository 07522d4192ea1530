"""Slides and images of any format, read as rectangles at any resolution (µm a pixel).

``with open_slide("a.svs") as slide: slide.region(0, 0, 512, 512, mpp=0.25)``; ``read_image("a.png").pixels``
reads a file whole; `files_of` says which files folders stand for. Formats: everything OpenSlide reads (SVS,
NDPI, MRXS, SCN, DICOM, …), TIFF and OME-TIFF, OME-Zarr, PNG, JPEG, BMP; no other room knows them. `opening`
chooses the reader of a file, a module a kind of file, `remote` fetches from addresses, and `slide` reads
rectangles; `pieces` puts them together of tiles and chunks. `colours` converts kinds of pixels to RGB,
`channels` tells whether three of them are RGB, `colourless` refuses what has no colour, `white` finds what is
white in 16 bits, `shared_white` in all files of a dataset, `resolution` finds µm a pixel, `bounds` what was
scanned of a larger canvas, `levels` how coarse a level is, `tissue_mask` tells tissue from glass,
`dicom_series` finds what annotations of a DICOM slide refer to.
"""

from nucseg_jax.slides.dicom_series import check_dicom
from nucseg_jax.slides.listing import files_of, has_suffix
from nucseg_jax.slides.opening import (
    SUFFIXES,
    WholeImage,
    open_slide,
    read_image,
    slide_of_array,
    slide_of_image,
)
from nucseg_jax.slides.slide import THUMBNAIL_BLOCK_PX, Slide
from nucseg_jax.slides.state import FileState, file_state

__all__ = [
    "SUFFIXES",
    "THUMBNAIL_BLOCK_PX",
    "FileState",
    "Slide",
    "WholeImage",
    "check_dicom",
    "file_state",
    "files_of",
    "has_suffix",
    "open_slide",
    "read_image",
    "slide_of_array",
    "slide_of_image",
]
