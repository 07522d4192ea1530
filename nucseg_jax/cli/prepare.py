"""`nucseg prepare`: raw images → datasets. What does the work is in `data_prep`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nucseg_jax.cli.arguments import SIZES, Command, Overwrite, RegionClass, White
from nucseg_jax.cli.cut import cut
from nucseg_jax.cli.preparing import module_of

_STAINS, _ERRORS = "Stains", "Errors"

prepare = typer.Typer(no_args_is_help=True, help="Prepare datasets for training and scoring.")

Source = Annotated[Path, typer.Option(metavar="DIR", help="Folder with the raw files.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for prepared datasets. Default: $TFDS_DATA_DIR, or TFDS's ~/tensorflow_datasets.",
    ),
]
Mpp = Annotated[
    float | None,
    typer.Option(
        metavar="UM",
        help="µm a pixel of the images in --source. Default: as their files state it, else 0.25, which is "
        "40×.",
        rich_help_panel=SIZES,
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
        int, typer.Option(min=1, metavar="PX", help="Side of the prepared images.", rich_help_panel=SIZES)
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
    module_of("monuseg").prepare(
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
            rich_help_panel=SIZES,
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
    module_of("folder").prepare(
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


prepare.command(cls=Command)(cut)


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
    shards: Annotated[
        int | None,
        typer.Option(
            rich_help_panel="Form",
            metavar="N",
            min=1,
            help="Put the training images into N shards, which data.pipeline=streamed reads from a disk. "
            "For more images than memory holds.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Pack a prepared dataset as plain image files, for machines without TensorFlow.

    \b
    nucseg prepare pack --dataset monuseg --split paper --out PACKED
    """
    module_of("pack").pack(
        data_dir,
        dataset=dataset,
        split=split,
        stain=stain,
        size=size,
        out=out,
        overwrite=overwrite,
        shards=shards,
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
    module_of("synthetic").draw(out, images=images, test=test, size=size, seed=seed)


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
    module_of("label_noise").copy_with_errors(
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
