"""`nucseg convert` and `nucseg to-torch`: PyTorch checkpoint ↔ run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

_NETWORK, _IMAGES = "The network", "How it took its images"


def convert(
    model: Annotated[str, typer.Option(help="unet, psp_segnet, …", rich_help_panel=_NETWORK)],
    checkpoint: Annotated[Path, typer.Option(metavar="FILE", help="Of torch.save; holds the state dict.")],
    workdir: Annotated[Path, typer.Option(metavar="DIR", help="The run's folder, without checkpoints.")],
    num_classes: Annotated[int, typer.Option(help="Of its result.", rich_help_panel=_NETWORK)] = 2,
    width: Annotated[
        float, typer.Option(help="Multiplies every channel count.", rich_help_panel=_NETWORK)
    ] = 1.0,
    channel_order: Annotated[
        Literal["RGB", "BGR"],
        typer.Option(help="Of the patches; the authors fed BGR.", rich_help_panel=_IMAGES),
    ] = "BGR",
    input_scale: Annotated[
        float | None,
        typer.Option(
            help="Size at which it saw its patches. Default: as the authors fed: 0.5 for unet and "
            "fc_densenet, else 1.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    stain: Annotated[
        Literal["vahadane", "macenko", "reinhard", "none"],
        typer.Option(help="How its training images were normalised.", rich_help_panel=_IMAGES),
    ] = "vahadane",
    crop_size: Annotated[
        int, typer.Option(help="Side of its training patches in pixels.", rich_help_panel=_IMAGES)
    ] = 512,
    mpp: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="µm a pixel of its training images. Default: not recorded.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
) -> None:
    """Convert a PyTorch checkpoint into a run's folder, which `nucseg evaluate` and `predict` take.

    \b
    nucseg convert --model psp_segnet --checkpoint psp.pth --workdir runs/psp_torch
    """
    from nucseg_jax.cli.session import begin

    begin()
    from nucseg_jax.errors import shown
    from nucseg_jax.models.network import InputFormat
    from nucseg_jax.torch_bridge import from_torch

    scale = from_torch.AUTHORS_INPUT_SCALE.get(model, 1.0) if input_scale is None else input_scale
    ignored = from_torch.convert(
        model,
        checkpoint,
        workdir,
        num_classes=num_classes,
        width=width,
        input_format=InputFormat(channel_order, scale),
        stain=stain,
        crop_size=crop_size,
        mpp=mpp,
    )
    settings = {
        "model.name": model,
        "model.num_classes": num_classes,
        "model.width": width,
        "data.stain": stain,
        "data.crop_size": crop_size,
    }
    print("\n  ".join([f"ignored {len(ignored)} keys", *map(shown, ignored)]))
    print(
        f"wrote {shown(workdir)}/checkpoints/0: {model}, images as {channel_order} divided by 255, at scale "
        f"{scale:g}, stain {stain}. Score it with:\n  "
        + shown(from_torch.evaluation_command(workdir, settings))
    )


def to_torch(
    workdir: Annotated[Path, typer.Option(metavar="RUN", help="A run's folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")],
    step: Annotated[
        int | None,
        typer.Option(help="Of the checkpoint. Default: the best on the validation images, or the last."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a run's weights as a file that PyTorch's load_state_dict takes, under the published keys.

    \b
    nucseg to-torch --workdir runs/psp --out psp.pth
    """
    from nucseg_jax.cli.arguments import check_not_there
    from nucseg_jax.cli.session import begin

    check_not_there(out, overwrite)
    begin()
    from nucseg_jax.errors import shown
    from nucseg_jax.torch_bridge import to_torch as bridge

    loaded = bridge.export(workdir, out, step)
    print(f"wrote {shown(out)}: step {loaded.step} of {shown(workdir)}. It takes {bridge.input_of(loaded)}")
