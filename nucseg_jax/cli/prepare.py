"""`nucseg prepare`: raw images → datasets. What does the work is in `data_prep`."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nucseg_jax.cli.arguments import Command, NoCrop, White

_STAINS, _SIZES, _ERRORS = "Stains", "Resolution and size", "Errors"

prepare = typer.Typer(no_args_is_help=True, help="Prepare datasets for training and scoring.")

Source = Annotated[Path, typer.Option(metavar="DIR", help="Folder with the raw files.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for prepared datasets. Default: $TFDS_DATA_DIR, or TFDS's ~/tensorflow_datasets.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do it again even if it is there.")]
Mpp = Annotated[
    float | None,
    typer.Option(
        metavar="UM",
        help="µm a pixel of the images in --source. Default: as their files state it, else 0.25, which is "
        "40×.",
        rich_help_panel=_SIZES,
    ),
]
RegionClass = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="A class of QuPath's annotations that are regions, besides Region*. May be given again.",
    ),
]
Stain = Literal["vahadane", "macenko", "reinhard", "none"]
StainTarget = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Training image whose stains the others get.", rich_help_panel=_STAINS),
]
StainBackend = Annotated[
    Literal["jax", "staintools"],
    typer.Option(
        help="staintools continues datasets of earlier releases: seconds an image, and only vahadane.",
        rich_help_panel=_STAINS,
    ),
]
Dataset = Annotated[Literal["monuseg", "folder"], typer.Option(help="As it was prepared.")]
Split = Annotated[str, typer.Option(help="As it was prepared: monuseg's --split, folder's --name.")]
Size = Annotated[
    int | None, typer.Option(min=1, metavar="PX", help="As it was prepared, where --size was given.")
]


@prepare.command(cls=Command)
def monuseg(
    source: Source,
    out: Out = None,
    split: Annotated[str, typer.Option(help="paper, kumar or challenge2018.")] = "paper",
    stain: Annotated[
        Stain, typer.Option(help="How stains are normalised.", rich_help_panel=_STAINS)
    ] = "vahadane",
    size: Annotated[
        int, typer.Option(min=1, metavar="PX", help="Side of the prepared images.", rich_help_panel=_SIZES)
    ] = 1024,
    mpp: Mpp = None,
    white: White = None,
    stain_target: StainTarget = None,
    stain_backend: StainBackend = "jax",
    overwrite: Overwrite = False,
) -> None:
    """Prepare MoNuSeg (https://monuseg.grand-challenge.org/Data/).

    \b
    nucseg prepare monuseg --source MONUSEG --out DATA
    """
    _module("monuseg").prepare(
        source,
        out,
        split=split,
        stain=stain,
        size=size,
        mpp=mpp,
        white=white,
        stain_target=stain_target,
        stain_backend=stain_backend,
        overwrite=overwrite,
    )


@prepare.command(cls=Command)
def folder(
    source: Annotated[
        list[Path],
        typer.Option(
            metavar="DIR", help="Folder with the raw files. Several make one dataset, of several sources."
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the dataset: letters, digits, - and _.")],
    out: Out = None,
    test: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Test images (without a manifest).")
    ] = None,
    no_test: Annotated[
        bool, typer.Option("--no-test", help="No test images: all are for training, none is scored.")
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Says which images are in which split. Default: manifest.json of each --source, if there.",
        ),
    ] = None,
    stain: Annotated[
        Stain, typer.Option(help="How stains are normalised.", rich_help_panel=_STAINS)
    ] = "none",
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="PX",
            help="Side of the prepared images. Default: each image keeps its own.",
            rich_help_panel=_SIZES,
        ),
    ] = None,
    mpp: Mpp = None,
    white: White = None,
    stain_target: StainTarget = None,
    stain_backend: StainBackend = "jax",
    overwrite: Overwrite = False,
    region_class: RegionClass = None,
) -> None:
    """Prepare your own images, each with its annotation: QuPath GeoJSON, ImageScope XML or a label map.

    \b
    In GeoJSON, detections, nuclei of cells and annotations are nuclei. Those
    of the class Region* are regions: all nuclei in them are annotated, and
    nothing outside of them, nor under objects of the class Ignore*. Without
    regions the whole image is annotated.

    \b
    nucseg prepare folder --source DIR --name mine --test ID ID
    nucseg prepare folder --source DIR DIR2 --name all --no-test
    """
    _module("folder").prepare(
        source,
        out,
        name=name,
        test=test or (),
        no_test=no_test,
        manifest_file=manifest,
        stain=stain,
        size=size,
        mpp=mpp,
        white=white,
        stain_target=stain_target,
        stain_backend=stain_backend,
        overwrite=overwrite,
        region_classes=region_class or (),
    )


@prepare.command(cls=Command)
def cut(
    slides: Annotated[
        list[Path], typer.Argument(metavar="SLIDE", help="Slides, images, or folders of them.")
    ],
    annotations: Annotated[
        Path,
        typer.Option(
            metavar="FILE|FOLDER",
            help="GeoJSON of the slide, as QuPath exports it; or a folder that has SLIDE.geojson of each.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to make: the --source of nucseg prepare folder.")
    ],
    margin_um: Annotated[
        float,
        typer.Option(
            metavar="UM",
            help="Tissue around a region that is cut out with it; training patches reach into it.",
        ),
    ] = 32.0,
    region_class: RegionClass = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="µm a pixel of all the slides, whatever their files say.",
            rich_help_panel=_SIZES,
        ),
    ] = None,
    white: White = None,
    no_crop: NoCrop = False,
    overwrite: Overwrite = False,
) -> None:
    """Cut the annotated regions out of whole slides, for `prepare folder`.

    \b
    Regions are what `prepare folder` takes for regions: annotations of the
    class Region*. Each becomes SLIDE_1.tif, SLIDE_2.tif, … with its objects
    beside it as GeoJSON. Regions that lie close together share an image.

    \b
    nucseg prepare cut slide.svs --annotations regions.geojson --out CROPS
    nucseg prepare folder --source CROPS --name mine --no-test
    """
    _module("cut").cut(
        slides,
        annotations,
        out,
        margin_um=margin_um,
        region_classes=region_class or (),
        mpp=mpp,
        white=white,
        crop=not no_crop,
        overwrite=overwrite,
    )


@prepare.command(cls=Command)
def pack(
    dataset: Dataset,
    split: Split,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for packed datasets.")],
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with the prepared datasets. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets.",
        ),
    ] = None,
    stain: Annotated[
        Stain | None, typer.Option(help="As it was prepared. Default: the usual one of the dataset.")
    ] = None,
    size: Size = None,
    overwrite: Overwrite = False,
) -> None:
    """Pack a prepared dataset as plain image files, for machines without TensorFlow.

    \b
    nucseg prepare pack --dataset monuseg --split paper --out PACKED
    """
    _module("pack").pack(
        data_dir, dataset=dataset, split=split, stain=stain, size=size, out=out, overwrite=overwrite
    )


@prepare.command(cls=Command)
def synthetic(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make.")],
    images: Annotated[int, typer.Option(metavar="N", help="How many.")] = 14,
    test: Annotated[int, typer.Option(metavar="N", help="How many of them are test images.")] = 4,
    size: Annotated[int, typer.Option(metavar="PX", help="Side of the images.")] = 1000,
    seed: Annotated[int, typer.Option(help="Another seed, other tissue.")] = 0,
) -> None:
    """Draw H&E-like tissue with known nuclei, to try things with.

    \b
    nucseg prepare synthetic --out SOURCE --images 14 --test 4 --size 512
    nucseg prepare folder --source SOURCE --out DATA --name synthetic
    """
    _module("synthetic").draw(out, images=images, test=test, size=size, seed=seed)


@prepare.command(cls=Command)
def label_noise(
    source: Annotated[Path, typer.Option(metavar="DIR", help="Folder of packed datasets to copy from.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Another one, for the copy.")],
    rate: Annotated[
        float, typer.Option(help="Share of each kind of error, 0 to 1/3.", rich_help_panel=_ERRORS)
    ],
    dataset: Dataset = "monuseg",
    split: Split = "paper",
    stain: Annotated[Stain, typer.Option(help="As it was packed.")] = "vahadane",
    size: Size = None,
    shift_px: Annotated[
        int, typer.Option(metavar="PX", help="That nuclei are shifted by.", rich_help_panel=_ERRORS)
    ] = 6,
    dilate_px: Annotated[
        int, typer.Option(metavar="PX", help="That nuclei grow by.", rich_help_panel=_ERRORS)
    ] = 3,
    seed: Annotated[int, typer.Option(help="Another one, other errors.", rich_help_panel=_ERRORS)] = 0,
    clean: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Training images that stay as they are, such as held-out ones.",
            rich_help_panel=_ERRORS,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Copy a packed dataset with errors in its training labels, to study what training makes of them.

    \b
    nucseg prepare label-noise --source PACKED --out NOISY --rate 0.2
    """
    _module("label_noise").copy_with_errors(
        source,
        out,
        dataset=dataset,
        split=split,
        stain=stain,
        size=size,
        rate=rate,
        shift_px=shift_px,
        dilate_px=dilate_px,
        seed=seed,
        clean=clean or (),
        overwrite=overwrite,
    )


def _module(name: str) -> Any:
    """A module of `data_prep`: the one that is imported already, the wheel's, or the checkout's.

    Never a second copy: TFDS knows each dataset's class by its name, once.
    """
    loaded = "data_prep" in sys.modules
    package = "data_prep" if loaded or not _is_in_wheel() else "nucseg_jax.data_prep"
    return importlib.import_module(f"{package}.{name}")


def _is_in_wheel() -> bool:
    return importlib.util.find_spec("nucseg_jax.data_prep") is not None
