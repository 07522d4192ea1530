"""`nucseg export`: a trained network → StableHLO or ONNX."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nucseg_jax.cli.arguments import check_not_there

_NETWORK, _FILE = "The network", "The file"


def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="What is written.", rich_help_panel=_FILE)],
    form: Annotated[
        Literal["stablehlo", "onnx"],
        typer.Option("--format", help="onnx needs the extra `onnx`.", rich_help_panel=_FILE),
    ],
    workdir: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run's folder.", rich_help_panel=_NETWORK)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An installed model (nucseg models), or a file of one, in place of a run.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Which checkpoint. Default: the best, or the last.", rich_help_panel=_NETWORK
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            help="Of the square images that it takes. Default: that of the tiles that predict shows it.",
            rich_help_panel=_FILE,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Images at once.", rich_help_panel=_FILE)] = 1,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of stablehlo: cpu, cuda, tpu. Default: all; one for cpu alone is faster there.",
            rich_help_panel=_FILE,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.", rich_help_panel=_FILE)
    ] = False,
) -> None:
    """Write a trained network as one file that other software runs: uint8 RGB images → float32 logits.

    Its logits of an image of tissue are compared with the network's before it appears.

    \b
    nucseg export --workdir runs/unet_small --format onnx --out unet_small.onnx
    nucseg export --model he --format stablehlo --platform tpu --batch 8 --out he.bin
    """
    from nucseg_jax.errors import UserError

    if (workdir is None) == (model is None):
        raise UserError("give a run's folder as --workdir, or an installed model's name as --model")
    if model is not None and step is not None:
        raise UserError(f"--step {step}: {model} has one step only. Leave it out")
    if platform and form != "stablehlo":
        raise UserError(f"--platform {platform[0]}: ONNX models are for no platform. Leave it out")
    check_not_there(out, overwrite)
    from nucseg_jax.cli.session import begin

    begin()
    from nucseg_jax import programs
    from nucseg_jax.errors import shown
    from nucseg_jax.programs.stablehlo import PLATFORMS

    if unknown := set(platform or ()) - set(PLATFORMS):
        raise UserError(f"--platform {min(unknown)}: must be one of {', '.join(PLATFORMS)}")
    loaded = _loaded(workdir, model, step)
    chosen = tuple(name for name in PLATFORMS if name in (platform or PLATFORMS))
    written = programs.export(loaded, out, programs.Wanted(form, side, batch, chosen))
    print("\n".join([f"wrote {shown(out)}: {_network(loaded)}", *map(shown, _facts(loaded, written))]))


def _loaded(workdir: Path | None, name: str | None, step: int | None) -> Any:
    from nucseg_jax import devices, pretrained
    from nucseg_jax.runs import loading
    from nucseg_jax.runs.model import model_of_tensors

    if workdir is not None:
        return loading.load_model(workdir, devices.make_mesh(), step)
    assert name is not None
    file = pretrained.load(name)
    return model_of_tensors(file.tensors, file.info, file.step, devices.make_mesh(), str(file.path))


def _network(loaded: Any) -> str:
    return f"{loaded.info['config']['model']['name']}, step {loaded.step}"


def _facts(loaded: Any, written: Any) -> list[str]:
    """What who uses the file must know."""
    shape = "×".join(map(str, written.shape))
    classes = ", ".join(loaded.info.get("classes", ()))
    resolution = (loaded.info.get("resolution") or {}).get("network_mpp")
    lines = [
        f"  images   uint8 {shape}, RGB" + (f", {resolution:g} µm a pixel" if resolution else ""),
        f"  logits   float32 {shape[:-1]}{loaded.info['config']['model']['num_classes']}"
        + (f": {classes}" if classes else ""),
    ]
    if loaded.stain is not None:
        lines.append(f"  stains   the images must be normalised ({loaded.stain.name}): nucseg stain")
    lines.append(
        "  checked  not here: this machine has none of its platforms"
        if written.difference is None
        else f"  checked  its logits are the network's, to {written.difference:.1e} of their range"
    )
    return lines
