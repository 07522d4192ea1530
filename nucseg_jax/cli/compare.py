"""`nucseg compare`: a network beside its PyTorch twin."""

from pathlib import Path
from typing import Annotated

import typer

from nucseg_jax.cli.arguments import White

_NETWORK, _IMAGES = "The network", "Images"


def compare(
    model: Annotated[str, typer.Option(help="unet, psp_segnet, …", rich_help_panel=_NETWORK)],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of torch.save. Default: random weights that show every layer.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Of one size. Default: a random image of --size.", rich_help_panel=_IMAGES
        ),
    ] = None,
    size: Annotated[
        tuple[int, int],
        typer.Option(metavar="HEIGHT WIDTH", help="Of the random image, in pixels.", rich_help_panel=_IMAGES),
    ] = (256, 192),
    white: White = None,
    num_classes: Annotated[int, typer.Option(help="Of its result.", rich_help_panel=_NETWORK)] = 2,
    width: Annotated[
        float, typer.Option(help="Multiplies every channel count.", rich_help_panel=_NETWORK)
    ] = 1.0,
) -> None:
    """Show the same images to PyTorch and Flax: the difference after every layer, and the time of each.

    \b
    nucseg compare --model psp_segnet
    nucseg compare --model psp_segnet --checkpoint psp.pth --images a.png b.png
    """
    from nucseg_jax.cli.session import begin

    begin()
    from nucseg_jax.torch_bridge.parity import report

    report(model, checkpoint, images, size, white=white, num_classes=num_classes, width=width)
